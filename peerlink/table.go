package peerlink

import (
	"crypto/rand"
	"encoding/binary"
	"maps"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors"
)

// table maps the indexes that this node has given out to what they name. It is
// copied on every write, which happens a few times per handshake; readers never
// wait. Its zero value is empty.
type table struct {
	slots atomic.Pointer[map[uint32]slot]
}

// slot is what one index names: first the actor that waits for the answer to a
// handshake, later the session that came out of it.
type slot struct {
	inbound *Inbound
	waiter  actors.Ref[answered]
}

func (t *table) load(index uint32) slot {
	m := t.slots.Load()
	if m == nil {
		return slot{}
	}
	return (*m)[index]
}

// reserve gives out an index that names nothing yet. Indexes are random so that
// nobody can guess them, nor learn from them how many sessions there are.
func (t *table) reserve(s slot) uint32 {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		index := binary.BigEndian.Uint32(b[:])
		if index == 0 {
			continue
		}
		taken := false
		t.update(func(m map[uint32]slot) {
			if _, taken = m[index]; !taken {
				m[index] = s
			}
		})
		if !taken {
			return index
		}
	}
}

func (t *table) set(index uint32, s slot) { t.update(func(m map[uint32]slot) { m[index] = s }) }
func (t *table) remove(index uint32)      { t.update(func(m map[uint32]slot) { delete(m, index) }) }

// removePeer takes away all sessions of a peer.
func (t *table) removePeer(p *Peer) {
	t.update(func(m map[uint32]slot) {
		maps.DeleteFunc(m, func(_ uint32, s slot) bool { return s.inbound != nil && s.inbound.peer == p })
	})
}

func (t *table) update(change func(map[uint32]slot)) {
	for {
		old := t.slots.Load()
		fresh := map[uint32]slot{}
		if old != nil {
			fresh = maps.Clone(*old)
		}
		change(fresh)
		if t.slots.CompareAndSwap(old, &fresh) {
			return
		}
	}
}
