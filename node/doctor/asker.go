package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/udp"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// asker asks STUN questions over one UDP transport: of mesh nodes sealed, of
// public servers in the clear. What is not an answer to it goes to the prober.
type asker struct {
	transport *udp.Transport
	sealing
	waiting sync.Map // nat.TransactionID -> chan reply with room
	prober  atomic.Pointer[nat.Prober]
	done    chan struct{} // closed when nothing is received any more
}

// sealing is what makes datagrams of messages and back. It is immutable.
type sealing struct {
	masker *wire.Masker
	outer  wire.Outer
}

// newSealing makes one for a mesh key; nil: a key that nobody else has.
func newSealing(meshKey *[32]byte) sealing {
	var key [32]byte
	if meshKey != nil {
		key = *meshKey
	} else {
		_, _ = rand.Read(key[:]) // never fails
	}
	keys := wire.DeriveKeys(key)
	masker := wire.NewMasker(keys.Mask)
	return sealing{masker, wire.NewOuter(keys.Outer, masker)}
}

func (s sealing) seal(message []byte, limit int) []byte {
	return s.outer.Append(nil, wire.Handshake{Kind: wire.STUN, Body: message}, limit)
}

// sized is seal for exactly size bytes, if they suffice.
func (s sealing) sized(message []byte, size int) []byte {
	return s.outer.AppendSized(nil, wire.Handshake{Kind: wire.STUN, Body: message}, size)
}

// open returns the message in a datagram, in place; nil if it is none of ours.
func (s sealing) open(datagram []byte) []byte {
	header, err := s.masker.Unmask(datagram)
	if err != nil {
		return nil
	}
	m, err := s.outer.Open(header, datagram)
	if err != nil || m.Kind != wire.STUN {
		return nil
	}
	return m.Body
}

// reply is an answer to a question.
type reply struct {
	mapped netip.AddrPort
	at     time.Time
	id     nat.TransactionID
}

var errSilent = errors.New("no answer")

func newAsker(transport *udp.Transport, meshKey *[32]byte) *asker {
	a := &asker{transport: transport, sealing: newSealing(meshKey), done: make(chan struct{})}
	go a.receive()
	return a
}

func (a *asker) close() {
	a.transport.Close()
	<-a.done
}

func (a *asker) receive() {
	defer close(a.done)
	for {
		batch, err := a.transport.Receive()
		if err != nil {
			return
		}
		for _, arrival := range batch {
			body, mesh := arrival.Data, false
			if !nat.IsMessage(body) {
				body, mesh = a.open(body), true
			}
			a.take(nat.Heard{Message: append([]byte(nil), body...), Path: arrival.Path, Mesh: mesh})
		}
	}
}

func (a *asker) take(h nat.Heard) {
	m, err := nat.ParseMessage(h.Message)
	if err != nil {
		return
	}
	if box, ok := a.waiting.LoadAndDelete(m.ID); ok {
		if m.Class == nat.Success {
			box.(chan reply) <- reply{m.Mapped, time.Now(), m.ID}
		}
		return
	}
	switch p := a.prober.Load(); {
	case p == nil:
	case h.Mesh:
		p.Ref().Offer(h)
	default:
		p.TakeSTUN(h.Message, h.Path)
	}
}

// again is when a question is repeated.
var again = [...]time.Duration{0, 300 * time.Millisecond, 800 * time.Millisecond}

// question is one for asker.ask.
type question struct {
	to   netip.AddrPort
	mesh bool
	size int // of the datagram in bytes; 0: any
}

// ask returns how the other side sees socket zero and the round trip, or
// errSilent after askTime.
func (a *asker) ask(ctx context.Context, q question) (mapped netip.AddrPort, rtt time.Duration, err error) {
	path, err := a.transport.Through(0, q.to)
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	box := make(chan reply, len(again))
	sent := map[nat.TransactionID]time.Time{}
	defer func() {
		for id := range sent {
			a.waiting.Delete(id)
		}
	}()
	train := packet.NewTrain()
	began := time.Now()
	for _, at := range again {
		wait := time.NewTimer(time.Until(began.Add(at)))
		select {
		case <-ctx.Done():
			wait.Stop()
			return netip.AddrPort{}, 0, errSilent
		case r := <-box:
			wait.Stop()
			return r.mapped, r.at.Sub(sent[r.id]), nil
		case <-wait.C:
		}
		m := nat.Message{Class: nat.Request, ID: stun.NewTransactionID()}
		if q.mesh {
			m.Time = time.Now()
		}
		a.waiting.Store(m.ID, box)
		sent[m.ID] = time.Now()
		datagram := m.Append(nil)
		switch {
		case q.size > 0:
			datagram = a.sized(datagram, q.size)
		case q.mesh:
			datagram = a.seal(datagram, path.MaxDatagram())
		}
		train.Reset(path.Prefix())
		copy(train.Next(len(datagram)), datagram)
		if err := path.Send(train); err != nil {
			return netip.AddrPort{}, 0, err
		}
	}
	select {
	case <-ctx.Done():
		return netip.AddrPort{}, 0, errSilent
	case r := <-box:
		return r.mapped, r.at.Sub(sent[r.id]), nil
	}
}

// sizes of IP packets that are tried: those of Ethernet, PPPoE, common tunnels,
// and IPv6's least.
var sizes = []int{1500, 1492, 1480, 1472, 1460, 1440, 1420, 1400, 1360, 1320, leastMTU}

// largest finds the largest IP packet that gets to a seed in one piece; 0: none of
// the sizes did.
func (a *asker) largest(ctx context.Context, to netip.AddrPort) int {
	headers := 28 // IPv4 and UDP
	if to.Addr().Is6() {
		headers = 48
	}
	passed := make([]bool, len(sizes))
	var all sync.WaitGroup
	for i, size := range sizes {
		all.Go(func() {
			_, _, err := a.ask(ctx, question{to: to, mesh: true, size: size - headers})
			passed[i] = err == nil
		})
	}
	all.Wait()
	for i, ok := range passed {
		if ok {
			return sizes[i]
		}
	}
	return 0
}
