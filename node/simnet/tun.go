package simnet

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/openbmx/lightweight-tunnel/node/tun"
)

// tunLimit is how many packets wait in either direction, as txqueuelen does.
const tunLimit = 4096

// Tun is a TUN device without a kernel: what a node reads from it the test has
// put in with Inject, what the node writes the test takes with Take. Both ways
// each packet has a virtio_net_hdr of 10 bytes in front, as with IFF_VNET_HDR.
//
// One goroutine may Read and Poll, any may do the rest.
type Tun struct {
	mu     sync.Mutex
	closed bool
	woken  bool
	toNode [][]byte // header and packet
	toTest [][]byte // packets
	bad    []error
	full   uint64
	ready  chan struct{} // something for Read
	came   chan struct{} // something for Take
}

// NewTun returns an open device.
func NewTun() *Tun {
	return &Tun{ready: make(chan struct{}, 1), came: make(chan struct{}, 1)}
}

// Read waits for one packet and copies header and packet into buf; what does
// not fit is cut off. It returns tun.ErrClosed after Close, and 0 after Wake.
func (t *Tun) Read(buf []byte) (int, error) {
	for {
		n, ok, err := t.Poll(buf)
		if ok || err != nil {
			return n, err
		}
		t.mu.Lock()
		woken := t.woken
		t.woken = false
		t.mu.Unlock()
		if woken {
			return 0, nil
		}
		<-t.ready
	}
}

// Poll is Read that does not wait: ok is false if there is no packet.
func (t *Tun) Poll(buf []byte) (n int, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, false, tun.ErrClosed
	}
	if len(t.toNode) == 0 {
		return 0, false, nil
	}
	n = copy(buf, t.toNode[0])
	t.toNode = t.toNode[1:]
	return n, true, nil
}

// Wake makes a Read that waits, or the next one, return 0.
func (t *Tun) Wake() {
	t.mu.Lock()
	t.woken = true
	t.mu.Unlock()
	poke(t.ready)
}

// Write takes one packet, header in front, and cuts it up as the kernel would.
// A packet that the kernel would refuse, or whose checksum a receiver would find
// wrong, is no error here, as it is none there: see Bad.
func (t *Tun) Write(buf []byte) error {
	h, err := tun.ParseHeader(buf)
	var pieces [][]byte
	if err == nil {
		pieces, err = Segment(h, buf[tun.HeaderLen:])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return tun.ErrClosed
	case err != nil:
		t.bad = append(t.bad, fmt.Errorf("written with %+v: %w", h, err))
	case len(t.toTest)+len(pieces) > tunLimit:
		t.full += uint64(len(pieces))
	default:
		t.toTest = append(t.toTest, pieces...)
	}
	poke(t.came)
	return nil
}

// Close ends all reads and writes with tun.ErrClosed.
func (t *Tun) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	poke(t.ready)
	poke(t.came)
	return nil
}

// Inject lets the node read a complete packet, see [UDP], [TCP], [Echo]. False:
// the queue is full or closed, the packet is lost.
func (t *Tun) Inject(packet []byte) bool { return t.InjectOffloaded(tun.Header{}, packet) }

// InjectOffloaded lets the node read a packet with a header of its own, see
// [Super].
func (t *Tun) InjectOffloaded(h tun.Header, packet []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.toNode) >= tunLimit {
		return false
	}
	t.toNode = append(t.toNode, append(h.Append(nil), packet...))
	poke(t.ready)
	return true
}

// Take waits for the next packet that was delivered: whole, checked, one of a
// super-packet's pieces. One goroutine may wait. The packet belongs to the
// caller.
func (t *Tun) Take(ctx context.Context) ([]byte, error) {
	for {
		t.mu.Lock()
		var packet []byte
		if len(t.toTest) > 0 {
			packet, t.toTest = t.toTest[0], t.toTest[1:]
		}
		closed := t.closed
		t.mu.Unlock()
		switch {
		case packet != nil:
			return packet, nil
		case closed:
			return nil, tun.ErrClosed
		}
		select {
		case <-t.came:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a delivered packet: %w", context.Cause(ctx))
		}
	}
}

// TakeAll returns all that has been delivered and not been taken, without waiting.
func (t *Tun) TakeAll() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.toTest
	t.toTest = nil
	return all
}

// Got says whether packet is among what has been delivered and not been taken,
// and takes it.
func (t *Tun) Got(packet []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range t.toTest {
		if bytes.Equal(p, packet) {
			t.toTest = append(t.toTest[:i:i], t.toTest[i+1:]...)
			return true
		}
	}
	return false
}

// Bad is what was wrong with packets that were written.
func (t *Tun) Bad() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]error(nil), t.bad...)
}

// Full counts delivered packets that the test did not take in time.
func (t *Tun) Full() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.full
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
