package peerlink

import (
	"errors"
	"net"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// staging keeps packets while there is no key or no path, bounded in number and
// bytes; the oldest goes first. It belongs to one goroutine.
type staging struct {
	maxPackets, maxBytes int
	room                 *room    // of all links; what is in the queue was taken of it
	queue                []staged // queue[first:] wait
	first                int
	bytes                int
	plain                []byte // of a repeat; scratch
}

// add appends packets and returns how many had to be dropped.
func (q *staging) add(batch []staged) (dropped int) {
	if q.len() == 0 && len(batch) > 0 {
		q.room.links.Add(1)
	}
	for _, p := range batch {
		q.queue = append(q.queue, p)
		q.bytes += len(p.Packet)
	}
	for q.len() > q.maxPackets || q.bytes > q.maxBytes {
		q.pop()
		dropped++
	}
	if q.first > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.first:])
		clear(q.queue[n:])
		q.queue, q.first = q.queue[:n], 0
	}
	return dropped
}

// shed lets the oldest packets go, while there is little room for all links and this
// one has more than its share, and returns how many.
func (q *staging) shed() (dropped int) {
	for q.len() > 0 && q.room.budget.Tight() && int64(q.cost()) > q.room.share() {
		q.pop()
		dropped++
	}
	return dropped
}

func (q *staging) len() int { return len(q.queue) - q.first }

// cost is what the queue takes of the room, in bytes.
func (q *staging) cost() int { return q.bytes + q.len()*stagedOverhead }

func (q *staging) pop() staged {
	p := q.queue[q.first]
	q.queue[q.first] = staged{}
	q.first++
	q.bytes -= len(p.Packet)
	q.room.budget.Give(p.cost())
	if q.len() == 0 {
		q.room.links.Add(-1)
	}
	return p
}

// discard drops all that waits.
func (q *staging) discard() {
	for q.len() > 0 {
		q.pop()
	}
	q.reset()
}

// reset gives the memory back once all is sent.
func (q *staging) reset() { q.queue, q.first, q.bytes, q.plain = nil, 0, 0, nil }

// flush sends what waits, in order, until about budget bytes are sent, and says
// whether that is all.
func (q *staging) flush(out *Outbound, t *packet.Train, budget int) (done bool) {
	if q.len() == 0 {
		return true
	}
	t.Reset(out.path.Prefix())
	bytes := 0
	send := func() {
		if t.Len() == 0 {
			return
		}
		n := t.Len()
		switch err := out.path.Send(t); {
		case err == nil:
			out.peer.Sent(n, bytes)
		default:
			out.peer.DroppedTx(n)
			if errors.Is(err, net.ErrClosed) {
				out.peer.PathLost(out.path)
			}
		}
		t.Reset(out.path.Prefix())
		bytes = 0
	}
	for q.len() > 0 && budget > 0 {
		p := q.pop()
		budget -= len(p.Packet)
		if len(p.Packet) > out.MaxPacket() {
			out.peer.DroppedTx(1)
			continue
		}
		counter, kind, plain := q.dress(out, &p)
		n := len(plain) + wire.Overhead
		slot := t.Next(n)
		if slot == nil {
			send()
			if slot = t.Next(n); slot == nil {
				out.peer.DroppedTx(1)
				continue
			}
		}
		out.Seal(slot, counter, kind, plain)
		bytes += n
	}
	send()
	if q.len() > 0 {
		return false
	}
	q.reset()
	return true
}

// dress is what to seal for a packet. The plaintext is a view, valid until the
// next call.
func (q *staging) dress(out *Outbound, p *staged) (counter uint64, kind wire.Kind, plain []byte) {
	if !p.again {
		return out.Begin(1), p.Kind, p.Packet
	}
	counter, kind, plain = out.Again(q.plain[:0], p.Again)
	if kind == wire.Repairable {
		q.plain = plain
	}
	return counter, kind, plain
}
