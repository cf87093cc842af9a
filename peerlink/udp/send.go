package udp

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

const (
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// maxSuper is the largest payload of one UDP packet over IPv4.
	maxSuper = 65535 - headers4
)

// Send implements [packet.Path]. [packet.ErrFull] stands for every reason why
// the kernel did not take the burst; the reasons are counted.
func (p *Path) Send(t *packet.Train) error { return p.send(t, 0) }

// SendHops implements [packet.Hopper].
func (p *Path) SendHops(t *packet.Train, hops uint8) error { return p.send(t, hops) }

func (p *Path) send(t *packet.Train, hops uint8) error {
	n := t.Len()
	if n == 0 {
		return nil
	}
	tr := p.transport
	if !p.Alive() {
		return net.ErrClosed
	}
	p.touch()
	w, to := p.out()
	why := to.why
	if why == noDrop && w != nil && t.SlotSize() > p.fits(w.linkMTU()) {
		why = dropTooLong
	}
	if why != noDrop {
		tr.drops.add(why, n)
		return packet.ErrFull
	}
	if !p.socket.enter() {
		return net.ErrClosed
	}
	sent, errno := p.burst(t, w, outgoing{source: to.source, ifindex: to.ifindex, hops: hops})
	p.socket.took(min(sent*t.SlotSize(), len(t.Bytes())), errno)
	p.socket.leave()
	if errno == 0 {
		return nil
	}
	tr.drops.add(reasonOf(errno), n-sent)
	return packet.ErrFull
}

// burst hands all datagrams to the kernel, in as few calls as it takes, and
// returns how many it took and why not more.
func (p *Path) burst(t *packet.Train, w *way, o outgoing) (sent int, errno unix.Errno) {
	tr := p.transport
	n, slot := t.Len(), t.SlotSize()
	if n == 1 {
		if errno := sendOne(p, t.Bytes(), &o); errno != 0 {
			return 0, errno
		}
		return 1, 0
	}
	var generation uint64
	if w != nil {
		generation = w.generation()
	}
	if !tr.gso || p.refused.Load() == generation+1 || slot == 0 {
		return p.singly(t, 0, &o)
	}
	most := min(maxSegments, maxSuper/slot)
	o.segment = slot
	all := t.Bytes()
	for sent < n {
		piece := min(most, n-sent)
		b := all[sent*slot : min((sent+piece)*slot, len(all))]
		if piece == 1 {
			o.segment = 0
		}
		errno := sendOne(p, b, &o)
		if refusal(errno) && piece > 1 {
			o.segment = 0
			rest, errno := p.singly(t, sent, &o)
			// Which of the two was at fault, the datagrams or how they were sent?
			if errno == 0 && p.refused.Swap(generation+1) != generation+1 {
				tr.log.Debug("segmentation offload is refused, sending datagrams one by one", "path", p)
			}
			return sent + rest, errno
		}
		if errno != 0 {
			return sent, errno
		}
		sent += piece
	}
	return sent, 0
}

// refusal says whether an error may mean that segmentation does not work here,
// rather than that nothing can be sent now.
func refusal(e unix.Errno) bool {
	switch e {
	case unix.EIO, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOPROTOOPT, unix.EMSGSIZE:
		return true
	}
	return false
}

// sendOne sends b with one sendmsg(2). It does not tell Go's scheduler: the call
// never waits.
func sendOne(p *Path, b []byte, o *outgoing) unix.Errno {
	var (
		c controls
		v unix.Iovec
		m unix.Msghdr
	)
	if len(b) > 0 {
		v.Base = &b[0]
		v.SetLen(len(b))
	}
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&p.name)), p.nameLen
	m.Iov = &v
	m.SetIovlen(1)
	m.Control = (*byte)(unsafe.Pointer(&c))
	m.SetControllen(o.put(&c, p.socket.v6))
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(p.socket.fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// singly sends the datagrams from first on as packets of their own.
func (p *Path) singly(t *packet.Train, first int, o *outgoing) (sent int, errno unix.Errno) {
	tr := p.transport
	if tr.batches.Load() {
		if sent, errno = p.batch(t, first, o); errno != unix.ENOSYS {
			return sent, errno
		}
		tr.batches.Store(false)
	}
	for first+sent < t.Len() {
		if errno := sendOne(p, t.Slot(first+sent), o); errno != 0 {
			return sent, errno
		}
		sent++
	}
	return sent, 0
}

// batch is singly with sendmmsg(2).
func (p *Path) batch(t *packet.Train, first int, o *outgoing) (sent int, errno unix.Errno) {
	m := p.transport.spares.Take()
	defer p.transport.spares.give(m)
	length := o.put(&m.control, p.socket.v6)
	m.n = t.Len() - first
	for i := range m.n {
		slot := t.Slot(first + i)
		v := &m.iov[i]
		v.Base = nil
		if len(slot) > 0 {
			v.Base = &slot[0]
		}
		v.SetLen(len(slot))
		h := &m.msg[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.name)), p.nameLen
		h.Iov = v
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&m.control))
		h.SetControllen(length)
	}
	for sent < m.n {
		k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(p.socket.fd), uintptr(unsafe.Pointer(&m.msg[sent])),
			uintptr(m.n-sent), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return sent, errno
		default:
			sent += int(k)
		}
	}
	return sent, 0
}

// batch is what sendmmsg(2) is told.
type batch struct {
	n       int
	iov     [packet.MaxSlots]unix.Iovec
	msg     [packet.MaxSlots]unix.Mmsghdr
	control controls
}

// spares keeps batches for reuse.
type spares struct{ link.Spares[batch] }

func (s *spares) give(m *batch) {
	clear(m.iov[:m.n])
	clear(m.msg[:m.n])
	s.Give(m)
}
