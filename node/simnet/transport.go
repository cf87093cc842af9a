package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// inboxLimit is how many datagrams wait for Receive; the rest is dropped.
const inboxLimit = 8192

// Transport is a packet.Receiver and a packet.Crosser on a host, with paths like
// those of rawtcp: accepted ones appear in Arrivals with their first datagram. Its
// UDP half, if there is one, receives through it as well.
//
// Unlike a real one it overwrites the datagrams of the last Arrivals when
// Receive is called again, to find those who keep them.
type Transport struct {
	host   *Host
	port   uint16 // accepts there; 0: does not
	shared bool   // dials from port too
	ready  chan struct{}

	closed atomic.Bool // written under the net's mutex
	woken  atomic.Bool // Wake was called and no Receive has returned for it

	inbox  packet.Arrivals // guarded by the net's mutex
	waking bool            // guarded alike: a wake-up is on the schedule
	udp    *UDPTransport   // guarded alike: nil until asked for
	held   []*held         // guarded alike
	last   packet.Arrivals // owned by the caller of Receive
}

var (
	_ packet.Receiver = (*Transport)(nil)
	_ packet.Crosser  = (*Transport)(nil)
	_ packet.Path     = (*flow)(nil)
)

// Receive implements packet.Receiver.
func (t *Transport) Receive() (packet.Arrivals, error) {
	for _, a := range t.last {
		for i := range a.Data {
			a.Data[i] = 0xdb
		}
	}
	t.last = nil
	for {
		if t.closed.Load() {
			return nil, net.ErrClosed
		}
		t.host.net.mu.Lock()
		t.last, t.inbox = t.inbox, nil
		t.host.net.mu.Unlock()
		if len(t.last) > 0 || t.woken.Swap(false) {
			return t.last, nil
		}
		<-t.ready
	}
}

// Wake implements packet.Receiver.
func (t *Transport) Wake() {
	t.woken.Store(true)
	t.wake()
}

// Close implements packet.Receiver: every flow is told (FIN), Receive returns
// net.ErrClosed.
func (t *Transport) Close() error {
	t.host.net.mu.Lock()
	defer t.host.net.mu.Unlock()
	t.close(true)
	return nil
}

func (t *Transport) close(tell bool) {
	if t.closed.Swap(true) {
		return
	}
	for _, f := range t.host.flows {
		if f.t == t {
			f.end(tell, net.ErrClosed)
		}
	}
	if t.udp != nil {
		t.udp.close()
	}
	for i, other := range t.host.transports {
		if other == t {
			t.host.transports = append(t.host.transports[:i:i], t.host.transports[i+1:]...)
			break
		}
	}
	t.wake()
}

func (t *Transport) wake() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *Transport) push(from packet.Path, data []byte) {
	if len(t.inbox) == inboxLimit {
		t.host.net.drop("receiver is too slow")
		return
	}
	t.inbox = append(t.inbox, packet.Arrival{Data: data, Path: from})
	if t.waking {
		return
	}
	// Behind everything that is due now, so that what arrives at one moment is
	// received together, however the scheduler feels.
	t.waking = true
	t.host.net.clock.at(time.Now(), func() {
		t.host.net.mu.Lock()
		t.waking = false
		t.host.net.mu.Unlock()
		t.wake()
	})
}

// A SYN is sent four times, a second apart; after one more the dial has failed.
const (
	synInterval = time.Second
	synTries    = 4
)

// Dial implements packet.Dialer. done gets a wrapped syscall.ECONNREFUSED if
// nothing listens there, ETIMEDOUT after 4 s without an answer, ENETUNREACH if
// the host has no address of that family.
func (t *Transport) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	t.host.net.mu.Lock()
	defer t.host.net.mu.Unlock()
	local, err := t.host.source(t, remote)
	return t.dial(local, remote, err, done)
}

// dial starts a flow from local, or fails with err; with the mutex held.
func (t *Transport) dial(local, remote netip.AddrPort, err error, done func(packet.Path, error)) (cancel func()) {
	n := t.host.net
	f := &flow{t: t, local: local, remote: remote, mtu: t.host.mtu, done: done}
	switch {
	case t.closed.Load():
		err = net.ErrClosed
	case err == nil && t.host.flows[flowKey{local, remote}] != nil:
		err = syscall.EADDRINUSE
	}
	if err != nil {
		f.finish(err)
		return func() {}
	}
	t.host.flows[flowKey{local, remote}] = f
	f.knock(1)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if f.state == dialing {
			f.end(false, net.ErrClosed)
		}
	}
}

// accept opens a flow for a SYN to the listening port.
func (t *Transport) accept(p wirePacket) {
	f := &flow{t: t, local: p.dst, remote: p.src, state: open, accepted: true, mtu: min(t.host.mtu, p.mtu)}
	t.host.flows[flowKey{f.local, f.remote}] = f
	f.alive.Store(true)
	f.emit(wireSYNACK)
}

// finish calls done, if nobody has; with the mutex held, so from elsewhere.
func (f *flow) finish(err error) {
	done := f.done
	if done == nil {
		return
	}
	f.done = nil
	f.t.host.net.clock.at(time.Now(), func() {
		if err != nil {
			done(nil, fmt.Errorf("dial %s: %w", f.remote, err))
			return
		}
		done(f, nil)
	})
}
