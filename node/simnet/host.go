package simnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
)

// Host is a computer with addresses, which can crash, come back and move.
type Host struct {
	net  *Net
	name string
	seg  *segment
	rng  *rand.Rand // for ephemeral ports

	// Guarded by the net's mutex.
	addrs      []netip.Addr
	mtu        int
	down       bool
	silent     bool
	busy       bool
	transports []*Transport
	flows      map[flowKey]*flow
	sockets    map[socketKey]*socket
}

type flowKey struct{ local, remote netip.AddrPort }

// Host puts a host on the internet.
func (n *Net) Host(name string, addrs ...string) *Host {
	return n.newHost(&n.internet, name, addrs)
}

// Host puts a host behind the router.
func (r *NAT) Host(name string, addrs ...string) *Host {
	return r.net.newHost(&r.inside, name, addrs)
}

func (n *Net) newHost(seg *segment, name string, addrs []string) *Host {
	sum := fnv.New64a()
	sum.Write([]byte("host " + name))
	h := &Host{net: n, name: name, seg: seg, mtu: 1500, flows: map[flowKey]*flow{}, sockets: map[socketKey]*socket{},
		rng: rand.New(rand.NewPCG(n.seed, sum.Sum64()))}
	h.SetAddrs(addrs...)
	return h
}

func (h *Host) memberName() string { return h.name }
func (h *Host) on() *segment       { return h.seg }

// Addr is the host's first address.
func (h *Host) Addr() netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.addrs[0]
}

// SetAddrs gives the host other addresses, in place of all that it had. Flows
// that it dialled from the old ones end, as those of rawtcp do; those that it
// accepted are not told: what they send is dropped, what is for them finds nobody.
func (h *Host) SetAddrs(addrs ...string) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.addrs = h.seg.renumber(h, h.addrs, addrs)
	for key, f := range h.flows {
		if !f.accepted && !h.has(key.local.Addr()) {
			f.end(false, syscall.EADDRNOTAVAIL)
		}
	}
	for _, t := range h.transports {
		if t.udp != nil {
			t.udp.moved()
		}
	}
}

// SetMTU changes the MTU of the host's interface, 1500 at first, for new flows.
func (h *Host) SetMTU(mtu int) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.mtu = mtu
}

// SetSilent chooses whether the host answers segments of unknown flows with a
// reset, as every host does at first, or not at all, as behind a guard.
func (h *Host) SetSilent(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.silent = on
}

// SetBusy makes every Send from this host fail with packet.ErrFull, as if the
// interface's queue were full.
func (h *Host) SetBusy(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.busy = on
}

// Crash takes the host off the net as if its power had failed: nobody is told.
// Its transports and paths are dead, so that the goroutines of what ran there
// can end; nothing that they still do gets out.
func (h *Host) Crash() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = true
	for len(h.transports) > 0 {
		h.transports[0].close(false)
	}
}

// Restart brings a crashed host back, with nothing running: Open a transport.
func (h *Host) Restart() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = false
}

// Open starts a transport that accepts flows on port and dials from ephemeral
// ports; with port 0 it only dials.
func (h *Host) Open(port uint16) (*Transport, error) { return h.open(port, false) }

// OpenShared starts a transport that also dials from port, so that a router
// shows all its flows under one mapping, and two such dials that cross open one
// flow. One flow for each remote address and port is all it can have.
func (h *Host) OpenShared(port uint16) (*Transport, error) { return h.open(port, true) }

func (h *Host) open(port uint16, shared bool) (*Transport, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.down {
		return nil, fmt.Errorf("open port %d on %s: %w", port, h.name, syscall.ENETDOWN)
	}
	if port != 0 && h.listener(port) != nil {
		return nil, fmt.Errorf("open port %d on %s: %w", port, h.name, syscall.EADDRINUSE)
	}
	t := &Transport{host: h, port: port, shared: shared, ready: make(chan struct{}, 1)}
	h.transports = append(h.transports, t)
	return t, nil
}

func (h *Host) has(a netip.Addr) bool { return slices.Contains(h.addrs, a) }

func (h *Host) listener(port uint16) *Transport {
	for _, t := range h.transports {
		if port != 0 && t.port == port {
			return t
		}
	}
	return nil
}

// source picks the local endpoint for a new flow of t to remote.
func (h *Host) source(t *Transport, remote netip.AddrPort) (netip.AddrPort, error) {
	a, ok := h.family(!remote.Addr().Is4())
	if !ok {
		return netip.AddrPort{}, syscall.ENETUNREACH
	}
	if t.shared {
		return netip.AddrPortFrom(a, t.port), nil
	}
	for {
		local := netip.AddrPortFrom(a, h.ephemeral())
		if h.flows[flowKey{local, remote}] == nil && h.listener(local.Port()) == nil && h.holder(local) == nil {
			return local, nil
		}
	}
}

// ephemeral draws a port from the range of which Linux takes them.
func (h *Host) ephemeral() uint16 { return uint16(32768 + h.rng.IntN(28232)) }

// family is the host's first address of a family.
func (h *Host) family(v6 bool) (netip.Addr, bool) {
	for _, a := range h.addrs {
		if a.Is6() == v6 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// holder is who holds the port of local.
func (h *Host) holder(local netip.AddrPort) *held {
	for _, t := range h.transports {
		for _, held := range t.held {
			if held.port == local.Port() && held.v6 == local.Addr().Is6() {
				return held
			}
		}
	}
	return nil
}

// receive takes a packet that reached the host.
func (h *Host) receive(p wirePacket) {
	if h.down || !h.has(p.dst.Addr()) {
		h.net.drop("host is down or moved")
		return
	}
	if p.kind == wireUDP {
		if s := h.sockets[socketKey{p.dst.Port(), p.dst.Addr().Is6()}]; s != nil {
			s.receive(p)
			return
		}
		h.net.drop("no socket")
		return
	}
	if f := h.flows[flowKey{p.dst, p.src}]; f != nil {
		f.receive(p)
		return
	}
	t, holder := h.listener(p.dst.Port()), h.holder(p.dst)
	switch {
	case p.kind == wireSYN && t != nil:
		t.accept(p)
	case p.kind == wireSYN && holder != nil && holder.unforeseen(p):
	case p.kind == wireRST:
	case h.silent || holder != nil:
		h.net.drop("no flow")
	default:
		h.net.drop("no flow")
		h.net.send(h, wirePacket{src: p.dst, dst: p.src, kind: wireRST, hops: allHops})
	}
}
