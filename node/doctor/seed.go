package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// seed is what was found of a node through which to join.
type seed struct {
	name    string // HOST:PORT
	keyed   bool   // it was asked as a node of the mesh
	address netip.AddrPort
	nameErr error // it cannot be resolved
	self    bool  // it is this host
	tcp     stream
	udp     answer
	udpErr  error
	packet  int // bytes of the largest IP packet that got there; 0: not known
}

// answer is one over UDP.
type answer struct {
	Addr   netip.AddrPort // who answered; not valid: nobody
	mapped netip.AddrPort
	rtt    time.Duration
}

// find asks all addresses of the seed over TCP and UDP. The first that answers
// stands for it.
func (s *seed) find(ctx context.Context, a *asker) {
	addresses, err := lookup(ctx, s.name)
	if err != nil {
		s.nameErr = err
		return
	}
	for _, to := range addresses {
		if own(to.Addr()) { // which fake TCP leaves to the kernel
			s.address, s.self = to, true
			return
		}
	}
	tcp, udp, udpErrs := make([]stream, len(addresses)), make([]answer, len(addresses)), make([]error, len(addresses))
	var all sync.WaitGroup
	for i, to := range addresses {
		all.Go(func() {
			var key *sealing
			if s.keyed {
				key = &a.sealing
			}
			tcp[i] = connect(ctx, to, key)
		})
		if !s.keyed {
			continue
		}
		all.Go(func() {
			mapped, rtt, err := a.ask(ctx, question{to: to, mesh: true})
			if udpErrs[i] = err; err == nil {
				udp[i] = answer{to, mapped, rtt}
			}
		})
	}
	all.Wait()
	best := 0
	quality := func(i int) (points int) {
		for _, good := range []bool{tcp[i].err == nil, tcp[i].mapped.IsValid(), udp[i].Addr.IsValid()} {
			if good {
				points++
			}
		}
		return points
	}
	for i := range addresses {
		if quality(i) > quality(best) {
			best = i
		}
	}
	s.address, s.tcp, s.udp, s.udpErr = addresses[best], tcp[best], udp[best], udpErrs[best]
}

// own says whether an address is one of this host.
func own(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return a.IsLoopback() || err == nil && slices.ContainsFunc(all, func(o net.Addr) bool {
		p, err := netip.ParsePrefix(o.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// server is the seed as the prober knows it. Its identity is of no matter to STUN.
func (s *seed) server() nat.Server {
	return nat.Server{Node: message.NodeID{0: 2}, Name: s.name, Addr: s.udp.Addr}
}

func (s seed) judge() []Check {
	c := Check{Name: "seed", Verdict: OK}
	_, port, _ := net.SplitHostPort(s.name)
	tcp, udp := s.tcp.err == nil, s.udp.Addr.IsValid()
	overTCP := fmt.Sprintf("fake TCP in %s", span(s.tcp.rtt))
	overUDP := fmt.Sprintf("UDP in %s", span(s.udp.rtt))
	notTCP := fmt.Sprintf("fake TCP does not pass (%s)", words(s.tcp.err))
	switch {
	case s.nameErr != nil:
		c.Verdict, c.Found = Fail, fmt.Sprintf("%s cannot be resolved: %v", s.name, s.nameErr)
		c.Fix = "mend DNS on this host, or give the seed by its address"
		return []Check{c}
	case s.self:
		c.Verdict, c.Found = Warn, fmt.Sprintf("%s is this host itself, whose own way says nothing", s.name)
		c.Fix = "run `lightweight-tunnel doctor` with this seed at another site"
		return []Check{c}
	case !s.keyed && tcp:
		c.Found = fmt.Sprintf("%s answers over %s; it was not asked as a node of the mesh: give --key-file for that", s.name, overTCP)
		return []Check{c}
	case !s.keyed:
		c.Verdict, c.Found = Fail, fmt.Sprintf("%s: %s", s.name, notTCP)
		c.Fix = fmt.Sprintf("start the node there, and open TCP port %s in its firewall", port)
		return []Check{c}
	case tcp && s.tcp.mapped.IsValid() && udp:
		c.Found = fmt.Sprintf("%s answers over %s and %s", s.name, overTCP, overUDP)
	case tcp && s.tcp.mapped.IsValid():
		c.Verdict, c.Found = Warn, fmt.Sprintf("%s answers over %s, and not over UDP (%s)", s.name, overTCP, words(s.udpErr))
		c.Fix = fmt.Sprintf("open UDP port %s in its firewall too, if this host's network lets UDP out: more direct paths come about", port)
	case tcp && udp:
		c.Verdict, c.Found = Warn, fmt.Sprintf("%s answers over %s; TCP is open and does not answer to this key: something else has the port, or is in between", s.name, overUDP)
		c.Fix = "see what listens there on TCP, or use --transport udp"
	case tcp:
		c.Verdict, c.Found = Fail, fmt.Sprintf("%s: the TCP port is open in %s, but no node of the mesh answers to this key", s.name, span(s.tcp.rtt))
		c.Fix = fmt.Sprintf("compare the keys of both, and the clocks (they may differ by %v); make sure that lightweight-tunnel has that port", noise.ClockWindow)
	case udp:
		c.Verdict, c.Found = Warn, fmt.Sprintf("%s answers over %s; %s", s.name, overUDP, notTCP)
		c.Fix = fmt.Sprintf("open TCP port %s in its firewall too: where UDP is blocked or throttled nothing else passes", port)
	default:
		c.Verdict, c.Found = Fail, fmt.Sprintf("%s: %s; no answer over UDP (%s)", s.name, notTCP, words(s.udpErr))
		c.Fix = fmt.Sprintf("start the node there, and open TCP and UDP port %s in its firewall", port)
	}
	if !udp {
		return []Check{c}
	}
	return []Check{c, s.judgePacket()}
}

// aroundTCP is what fake TCP needs in each IP packet beside the inner one: IPv4,
// TCP with timestamps, a record's prefix, and the seal.
const aroundTCP = 20 + 32 + record + wire.Overhead

// usualMTU is that of the tunnel if the user names none.
var usualMTU = config.Default().MTU

// judgePacket judges the sizes.
func (s seed) judgePacket() Check {
	c := Check{Name: "path mtu", Verdict: OK, Found: fmt.Sprintf("IP packets of %d bytes get to %s in one piece", s.packet, s.name)}
	switch {
	case s.packet == 0:
		c.Verdict, c.Found = Warn, fmt.Sprintf("not even IP packets of %d bytes get to %s in one piece", leastMTU, s.name)
		c.Fix = "start nodes with -mtu 0, which finds what fits"
	case s.packet < usualMTU+aroundTCP:
		c.Verdict = Warn
		c.Found += fmt.Sprintf(", larger ones do not: too little for the usual -mtu %d", usualMTU)
		c.Fix = fmt.Sprintf("start nodes with -mtu 0, which finds what fits, or with -mtu %d", s.packet-aroundTCP)
	}
	return c
}

func span(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// words is the reason of a network error without addresses that are said already.
func words(err error) string {
	if err == nil {
		return "no answer"
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	if text == "i/o timeout" || text == context.DeadlineExceeded.Error() {
		return "no answer"
	}
	return text
}
