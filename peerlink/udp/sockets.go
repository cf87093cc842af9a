package udp

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// sockets is an immutable snapshot of the open sockets.
type sockets map[socketID]*socket

// maxSockets bounds the sockets that are open besides socket zero.
const maxSockets = 4096

// openZero opens socket zero: one port in each family that is served and that
// the host has.
func openZero(cfg *Config) (opened []*socket, err error) {
	const tries = 64 // ports that IPv4 could have and IPv6 could not
	for range tries {
		opened, err = openPair(cfg)
		if err == nil || cfg.Port != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return opened, err
}

func openPair(cfg *Config) (opened []*socket, err error) {
	port := cfg.Port
	var missing error
	for _, v6 := range []bool{false, true} {
		addr, serve := cfg.bind(v6)
		if !serve {
			continue
		}
		s, err := openSocket(socketID{v6: v6}, netip.AddrPortFrom(addr, port), cfg)
		switch {
		case err == nil:
			opened = append(opened, s)
			port = s.port
		case missingFamily(err) && addr.IsUnspecified():
			missing = err
		default:
			for _, o := range opened {
				o.close()
			}
			return nil, err
		}
	}
	if len(opened) == 0 {
		return nil, fmt.Errorf("no address family can be served: %w", missing)
	}
	return opened, nil
}

// bellData is the epoll data of the bell: no socket has such a number.
const bellData = -1

// listen adds a socket to those that Receive waits for.
func (t *Transport) listen(s *socket, data int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: data}
	if s.v6 {
		event.Pad = 1
	}
	var failure error
	err := t.raw.Control(func(epoll uintptr) {
		failure = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, s.fd, &event)
	})
	if err == nil && failure == nil {
		return nil
	}
	if t.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("watching UDP socket: %w", errors.Join(err, failure))
}

// admit makes open sockets part of the transport; if it fails, they are closed.
func (t *Transport) admit(fresh ...*socket) error {
	t.change(func(m sockets) {
		for _, s := range fresh {
			m[s.socketID] = s
		}
	})
	for _, s := range fresh {
		err := t.listen(s, int32(s.number))
		if err == nil && t.closed.Load() {
			err = net.ErrClosed
		}
		if err != nil {
			t.release(func(s *socket) bool { return slices.Contains(fresh, s) })
			return err
		}
	}
	return nil
}

// change publishes a changed copy of the sockets.
func (t *Transport) change(f func(sockets)) {
	for {
		was := t.sockets.Load()
		is := maps.Clone(*was)
		if is == nil {
			is = make(sockets)
		}
		f(is)
		if t.sockets.CompareAndSwap(was, &is) {
			return
		}
	}
}

// release closes the sockets that which names, and ends their paths.
func (t *Transport) release(which func(*socket) bool) {
	closing := make(map[*socket]bool)
	for _, s := range *t.sockets.Load() {
		if which(s) {
			closing[s] = true
		}
	}
	if len(closing) == 0 {
		return
	}
	t.change(func(m sockets) {
		maps.DeleteFunc(m, func(_ socketID, s *socket) bool { return closing[s] })
	})
	for s := range closing {
		s.close()
	}
	for _, v := range t.paths.Range {
		if p := v.(*Path); closing[p.socket] {
			p.Close()
		}
	}
}

// disown takes back one adoption. A released socket goes with the last.
func (s *socket) disown(t *Transport) {
	if s.adopted.Add(-1) == 0 && s.released.Load() {
		t.release(func(o *socket) bool { return o == s })
	}
}

// Sockets implements [packet.Pather]. The sockets belong to the network namespace
// of the calling thread. It fails if the family is not served or the host lets
// nobody open so many.
func (t *Transport) Sockets(n int, v6 bool) ([]packet.Socket, error) {
	addr, serve := t.cfg.bind(v6)
	if !serve {
		return nil, errors.New("opening UDP sockets: this address family is not served")
	}
	if open := len(*t.sockets.Load()); open+n > maxSockets {
		return nil, fmt.Errorf("opening %d UDP sockets: %d are open already, and no more than %d may be", n, open, maxSockets)
	}
	fresh := make([]*socket, 0, n)
	numbers := make([]packet.Socket, 0, n)
	for range n {
		number := packet.Socket(t.numbers.Add(1) & 0x7fffffff)
		s, err := openSocket(socketID{number, v6}, netip.AddrPortFrom(addr, 0), &t.cfg)
		if err != nil {
			for _, o := range fresh {
				o.close()
			}
			return nil, fmt.Errorf("opening %d UDP sockets: %w", n, err)
		}
		fresh = append(fresh, s)
		numbers = append(numbers, number)
	}
	if err := t.admit(fresh...); err != nil {
		return nil, fmt.Errorf("opening %d UDP sockets: %w", n, err)
	}
	return numbers, nil
}

// Release implements [packet.Pather]. Socket zero stays.
func (t *Transport) Release(numbers []packet.Socket) {
	asked := make(map[packet.Socket]bool, len(numbers))
	for _, n := range numbers {
		asked[n] = n != 0
	}
	t.release(func(s *socket) bool {
		if !asked[s.number] {
			return false
		}
		s.released.Store(true)
		return s.adopted.Load() == 0
	})
}

// Port implements [packet.Pather].
func (t *Transport) Port(v6 bool) uint16 { return t.PortOf(0, v6) }

// PortOf is the local port of a socket; 0: there is none in that family.
func (t *Transport) PortOf(s packet.Socket, v6 bool) uint16 {
	if o := (*t.sockets.Load())[socketID{s, v6}]; o != nil {
		return o.port
	}
	return 0
}
