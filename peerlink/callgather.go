package peerlink

import (
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// gather holds ports for fake TCP and asks how they are seen: by the relay, which
// is reached for certain.
func (l *link) gather(now time.Time, g punch.Gather) {
	c, cfg := &l.calls, l.d.cfg
	var own []punch.Candidate
	local := cfg.Candidates()
	relay := netip.AddrPort{}
	if l.m.path != nil {
		relay = l.m.path.Remote()
	}
	for family, wanted := range []bool{g.Hold4, g.Hold6} {
		if !wanted {
			continue
		}
		held, err := cfg.Cross.Hold(family == 1)
		if err != nil {
			l.log.Debug("no port for fake TCP through the NAT", "reason", err)
			continue
		}
		c.held[family] = held
		own = append(own, heldCandidates(local, held.Port(), family == 1)...)
	}
	if held := c.held[0]; held != nil && g.Ask {
		if cfg.SeenAs != nil && relay.Addr().Unmap().Is4() {
			c.asking++
			box := l.peer.box.Ref()
			c.cancels = append(c.cancels, held.Dial(relay, func(p packet.Path, err error) {
				if !box.Offer(heldFlow{try: g.Try, path: p}) && p != nil {
					p.Close()
				}
			}))
		} else {
			own = append(own, supposed(local, held.Port())...)
		}
	}
	if g.Fresh && cfg.SeenAs != nil && relay.IsValid() {
		sockets, _ := cfg.UDP.Sockets(1, relay.Addr().Unmap().Is6())
		c.sockets = append(c.sockets, sockets...)
		for _, s := range sockets {
			if p, err := cfg.UDP.Through(s, relay); err == nil {
				c.paths[p] = true
				l.askSeen(g.Try, p)
			}
		}
	}
	l.gathered(now, own)
}

// heldCandidates are the host's own addresses with a held port.
func heldCandidates(local punch.Offer, port uint16, v6 bool) []punch.Candidate {
	var own []punch.Candidate
	for _, a := range local.Hosts(v6) {
		own = append(own, punch.Candidate{Kind: punch.Held, Transport: packet.RawTCP, Addr: netip.AddrPortFrom(a, port)})
	}
	return own
}

// supposed is what a held port is mapped to if the NAT treats TCP like UDP and
// keeps ports: the best guess if nobody can be asked.
func supposed(local punch.Offer, port uint16) []punch.Candidate {
	for _, k := range local.Candidates {
		if a := k.Addr.Addr(); k.Kind == message.Mapped && a.Is4() {
			return []punch.Candidate{{Kind: message.Mapped, Transport: packet.RawTCP, Addr: netip.AddrPortFrom(a, port)}}
		}
	}
	return nil
}

// askSeen asks how the other end of a path sees this one.
func (l *link) askSeen(try uint64, path packet.Path) {
	box := l.peer.box.Ref()
	if l.d.cfg.SeenAs(path, func(mapped netip.AddrPort, err error) {
		box.Offer(seenAs{try: try, path: path, mapped: mapped})
	}) {
		l.calls.asking++
	}
}

// gathering says whether a try waits for answers.
func (c *calls) gathering(try uint64) bool {
	return c.opener != nil && try == c.opener.Try() && c.asking > 0
}

// gotHeldFlow asks on a connection from a held port how that is seen.
func (l *link) gotHeldFlow(now time.Time, msg heldFlow) {
	c := &l.calls
	if !c.gathering(msg.try) {
		if msg.path != nil {
			msg.path.Close()
		}
		return
	}
	c.asking--
	if msg.path == nil {
		if held := c.held[0]; held != nil {
			l.gathered(now, supposed(l.d.cfg.Candidates(), held.Port()))
		}
		return
	}
	c.paths[msg.path] = true // stays open until the end: a NAT may forget the port with it
	l.askSeen(msg.try, msg.path)
	l.gathered(now, nil)
}

func (l *link) gotSeenAs(now time.Time, msg seenAs) {
	if !l.calls.gathering(msg.try) {
		return
	}
	l.calls.asking--
	var more []punch.Candidate
	if msg.mapped.IsValid() {
		a := netip.AddrPortFrom(msg.mapped.Addr().Unmap(), msg.mapped.Port())
		more = append(more, punch.Candidate{Kind: message.Mapped, Transport: msg.path.Kind(), Addr: a})
	}
	l.gathered(now, more)
}

// gathered passes on what was learnt.
func (l *link) gathered(now time.Time, more []punch.Candidate) {
	l.opener(now, punch.Gathered{Try: l.calls.opener.Try(), Candidates: more, Done: l.calls.asking == 0})
}
