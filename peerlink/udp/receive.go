package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

const (
	// maxBatch is how many packets, merged or not, are taken with one call, so
	// that the first of them do not grow old.
	maxBatch = 32
	// maxPacket is the largest payload of a UDP packet, and of merged ones.
	maxPacket = 65536
	// hotRuns is how often in a row the socket that brought something last is
	// asked before all others are.
	hotRuns = 8
)

// rx is what belongs to the receiving pump alone.
type rx struct {
	t       *Transport
	read    func(uintptr) bool // wait, made once
	look    func(uintptr)      // poll, made once
	out     packet.Arrivals
	batches atomic.Bool // recvmmsg works
	spin    link.Spin
	hot     *socket
	runs    int
	finder  finder

	buf    []byte // maxBatch pieces
	used   int    // pieces
	name   [maxBatch]unix.RawSockaddrInet6
	iov    [maxBatch]unix.Iovec
	msg    [maxBatch]unix.Mmsghdr
	ctl    [maxBatch]controls
	events [64]unix.EpollEvent
	anc    ancillary
}

func (r *rx) init(t *Transport) {
	r.t = t
	r.read, r.look = r.wait, r.poll
	r.batches.Store(!t.cfg.NoBatch)
	r.buf = make([]byte, maxBatch*maxPacket) // of which memory is used as far as bursts reach
	r.finder.init(t)
	for i := range r.msg {
		r.iov[i].Base = &r.buf[i*maxPacket]
		r.iov[i].SetLen(maxPacket)
		h := &r.msg[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.name[i]))
		h.Iov = &r.iov[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.ctl[i]))
	}
}

// Receive implements [packet.Receiver].
func (t *Transport) Receive() (packet.Arrivals, error) {
	if err := t.raw.Read(t.rx.read); err != nil {
		return nil, t.closedOr(err)
	}
	return t.rx.out, nil
}

// Poll implements [packet.Poller].
func (t *Transport) Poll() (packet.Arrivals, error) {
	if err := t.raw.Control(t.rx.look); err != nil {
		return nil, t.closedOr(err)
	}
	return t.rx.out, nil
}

// Descriptor implements [packet.Poller]: an epoll instance that holds all
// sockets. It is closed by Close.
func (t *Transport) Descriptor() (int, error) {
	fd := 0
	if err := t.raw.Control(func(epoll uintptr) { fd = int(epoll) }); err != nil {
		return 0, t.closedOr(err)
	}
	return fd, nil
}

// Wake implements [packet.Receiver].
func (t *Transport) Wake() {
	t.woken.Store(true)
	t.bell.ring()
}

func (t *Transport) closedOr(err error) error {
	if t.closed.Load() || errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return fmt.Errorf("UDP sockets: %w", err)
}

// wait takes what is there. Before it reports that there is nothing, whereupon
// the goroutine sleeps, it looks a few more times.
func (r *rx) wait(epoll uintptr) bool {
	for vain := 0; ; {
		found, more := r.take(int(epoll), vain == 0)
		switch {
		case found:
			r.spin.Found(vain)
			return true
		case more: // all of it was junk
		case r.spin.Again(vain):
			vain++
		default:
			return false
		}
	}
}

// poll takes what is there and does not wait.
func (r *rx) poll(epoll uintptr) {
	for found, more := false, true; !found && more; {
		found, more = r.take(int(epoll), true)
	}
}

// take fills r.out. found: there are datagrams, or somebody called Wake. more:
// there may be more; without it the epoll instance has nothing.
func (r *rx) take(epoll int, tryHot bool) (found, more bool) {
	r.out, r.used = r.out[:0], 0
	if r.t.woken.Swap(false) {
		r.t.bell.hush()
		return true, true
	}
	if tryHot && r.hot != nil && r.runs < hotRuns {
		r.runs++
		if r.drain(r.hot) > 0 {
			return len(r.out) > 0, true
		}
	}
	r.runs = 0
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&r.events)), uintptr(len(r.events)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return false, errno == unix.EINTR
	}
	open := *r.t.sockets.Load()
	for _, e := range r.events[:n] {
		if e.Fd == bellData {
			r.t.woken.Store(false)
			r.t.bell.hush()
			found = true
			continue
		}
		if r.used == maxBatch {
			break // the kernel turns its list, so the others are first next time
		}
		if s := open[socketID{packet.Socket(e.Fd), e.Pad != 0}]; s != nil {
			r.hot = s
			r.drain(s)
		}
	}
	return found || len(r.out) > 0, true
}

// drain receives from one socket, as far as there is room, and returns how many
// packets came.
func (r *rx) drain(s *socket) int {
	if !s.enter() {
		r.hot = nil
		return 0
	}
	defer s.leave()
	first := r.used
	for i := first; i < maxBatch; i++ {
		h := &r.msg[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(r.ctl[i].bytes()))
	}
	if r.batches.Load() {
		n, errno := r.recvmmsg(s.fd)
		if errno != unix.ENOSYS {
			r.used += n
		} else {
			r.batches.Store(false)
		}
	}
	if !r.batches.Load() {
		for r.used < maxBatch && r.recvmsg(s.fd) {
			r.used++
		}
	}
	for i := first; i < r.used; i++ {
		r.packet(s, i)
	}
	return r.used - first
}

// mishaps bounds how often a receiving call is repeated that failed: it was
// interrupted, or told of an error of an earlier send, which clears it.
const mishaps = 8

func (r *rx) recvmmsg(fd int) (int, unix.Errno) {
	var errno unix.Errno
	for range mishaps {
		var n uintptr
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg[r.used])),
			uintptr(maxBatch-r.used), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EAGAIN, unix.ENOSYS:
			return 0, errno
		}
	}
	return 0, errno
}

func (r *rx) recvmsg(fd int) bool {
	m := &r.msg[r.used]
	for range mishaps {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.Hdr)), unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			m.Len = uint32(n)
			return true
		case unix.EAGAIN:
			return false
		}
	}
	return false
}

// packet appends the datagrams of packet i to r.out.
func (r *rx) packet(s *socket, i int) {
	t, m := r.t, &r.msg[i]
	start := i * maxPacket
	b := r.buf[start : start+int(m.Len) : start+int(m.Len)]
	a := &r.anc
	const cut = unix.MSG_TRUNC | unix.MSG_CTRUNC
	if m.Hdr.Flags&cut != 0 || !a.parse(r.ctl[i].bytes()[:m.Hdr.Controllen]) || !a.local.IsValid() {
		t.drops.add(dropTruncated, 1)
		return
	}
	segment := a.segment
	if segment == 0 || segment > len(b) {
		segment = len(b)
	}
	if segment == 0 {
		t.drops.add(dropEmpty, 1)
		return
	}
	n := (len(b) + segment - 1) / segment
	switch {
	case !a.unicast:
		t.drops.add(dropNotUnicast, n)
		return
	case len(t.cfg.Listen) > 0 && !t.cfg.listens(a.local):
		t.drops.add(dropNotListened, n)
		return
	case len(t.cfg.ExcludeInterfaces) > 0 && r.finder.excluded(a.ifindex):
		t.drops.add(dropOutOfTunnel, n)
		return
	}
	p := r.finder.find(s, a, &r.name[i])
	if p == nil {
		t.drops.add(dropTruncated, n)
		return
	}
	for len(b) > 0 {
		d := b[:min(segment, len(b)):min(segment, len(b))]
		b = b[len(d):]
		if t.cfg.STUN != nil && LooksLikeSTUN(d) && t.cfg.STUN(d, p) {
			continue
		}
		r.out = append(r.out, packet.Arrival{Data: d, Path: p})
	}
}

// remoteOf reads the address that a datagram came from.
func remoteOf(name *unix.RawSockaddrInet6, v6 bool) (addr [16]byte, port uint16, scope uint32, ok bool) {
	if v6 {
		if name.Family != unix.AF_INET6 {
			return addr, 0, 0, false
		}
		return name.Addr, bigEndian(name.Port), name.Scope_id, name.Port != 0
	}
	four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	if four.Family != unix.AF_INET {
		return addr, 0, 0, false
	}
	return netip.AddrFrom4(four.Addr).As16(), bigEndian(four.Port), 0, four.Port != 0
}
