package udp

import (
	"golang.org/x/sys/unix"
)

// finder is the receiving pump's own table of paths: what it has seen, so that
// it looks nothing up that others change. It belongs to that pump.
type finder struct {
	t     *Transport
	known map[key]*Path // some of them dead
	last  *Path         // of the packet before
	swept uint32        // removals at the last sweep

	// Paths of strangers stand in a ring, and the hand goes round it: who has not
	// been heard of again since it last came by makes room (CLOCK).
	ring []*Path
	hand int

	ignored map[int]bool // interfaces seen, and whether they are excluded
}

func (f *finder) init(t *Transport) {
	f.t = t
	f.known = make(map[key]*Path)
	f.ignored = make(map[int]bool)
}

// find returns the path that a packet came by, made anew if need be; nil if its
// address is none.
func (f *finder) find(s *socket, a *ancillary, name *unix.RawSockaddrInet6) *Path {
	k := key{socket: s.number, local: a.local.As16()}
	var ok bool
	if k.remote, k.port, k.scope, ok = remoteOf(name, s.v6); !ok {
		return nil
	}
	p := f.last
	if p == nil || p.key != k || !p.Alive() {
		if p = f.known[k]; p == nil || !p.Alive() {
			p = f.meet(s, k, a.ifindex)
		} else {
			p.touch()
		}
		f.last = p
		return p
	}
	p.touch()
	return p
}

// meet finds a path that others made, or makes one.
func (f *finder) meet(s *socket, k key, ifindex int) *Path {
	f.sweep()
	t := f.t
	for {
		if v, there := t.paths.Load(k); there {
			p := v.(*Path)
			if p.Alive() {
				f.known[k] = p
				p.touch()
				return p
			}
			t.paths.CompareAndDelete(k, p)
		}
		p := newPath(t, s, k, ifindex)
		if t.keep(p) == p {
			f.known[k] = p
			f.seat(p)
			return p
		}
	}
}

// seat gives a stranger's path its place in the ring, whose occupant, if nobody
// adopted it, is forgotten.
func (f *finder) seat(p *Path) {
	const patience = 64
	if len(f.ring) < f.t.cfg.MaxPaths {
		f.ring = append(f.ring, p)
		return
	}
	for try := 0; ; try++ {
		if f.hand++; f.hand >= len(f.ring) {
			f.hand = 0
		}
		old := f.ring[f.hand]
		if old.state.Load() == young {
			if try < patience && old.used.Swap(false) {
				continue
			}
			old.Close()
			f.t.drops.add(dropForgotten, 1)
		}
		f.ring[f.hand] = p
		return
	}
}

// sweep takes dead paths out of the table, now and then.
func (f *finder) sweep() {
	const often = 256
	if n := f.t.removals.Load(); n-f.swept >= often {
		f.swept = n
		for k, p := range f.known {
			if !p.Alive() {
				delete(f.known, k)
			}
		}
	}
}

// excluded says whether an interface is one that we never receive from.
func (f *finder) excluded(ifindex int) bool {
	ignored, seen := f.ignored[ifindex]
	if !seen {
		ignored = f.t.router.excluded(ifindex)
		f.ignored[ifindex] = ignored
	}
	return ignored
}
