package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// ErrTooBig is returned for segments larger than the interface takes.
var ErrTooBig = errors.New("segment is larger than the interface takes")

// Options say how a [Sender] works. The zero value is right for production.
type Options struct {
	Log hclog.Logger // nil: none

	// NoGSO and NoPacketSocket force the slower ways that are otherwise taken
	// where the kernel or a device refuses the faster one.
	NoGSO          bool
	NoPacketSocket bool

	// SendBuffer bounds what waits in the kernel, in bytes; 0: 1 MiB.
	SendBuffer int
}

// Sender puts finished IP packets on the wire. It may be used by any number of
// goroutines at once; it never blocks and, once warm, never allocates.
//
// The fastest way is one super-segment per call through a packet socket; then
// single packets through a packet socket, many per call; then raw sockets, where
// the kernel's IP layer finds the way.
type Sender struct {
	log      hclog.Logger
	resolver *Resolver
	sockets  sockets
	closed   atomic.Bool
	buffer   int           // bytes, as asked for
	sent     atomic.Uint64 // payload bytes, see governor
	refused  atomic.Uint64 // bursts for which there was no room
	spare    spares
}

// NewSender opens the sockets in the network namespace of the calling thread,
// which must be that of r.
func NewSender(r *Resolver, opts Options) (*Sender, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	if opts.SendBuffer == 0 {
		opts.SendBuffer = 1 << 20
	}
	s := &Sender{log: opts.Log, resolver: r, buffer: opts.SendBuffer}
	var err error
	if s.sockets, err = openSockets(opts); err != nil {
		return nil, err
	}
	if opts.NoGSO || !s.sockets.vnet {
		r.noGSO.Store(true)
	}
	if opts.NoPacketSocket || s.sockets.ether < 0 {
		r.noPacket.Store(true)
	}
	runtime.AddCleanup(s, func(fds sockets) { fds.release() }, s.sockets)
	return s, nil
}

// Send puts one burst on the wire. In t.Frame(ipLen+tcpLen) the caller has
// written the IP header of the whole super-segment (total or payload length of
// all slots together; a valid header checksum in IPv4) and its TCP header, whose
// checksum field holds the folded, not inverted pseudo-header sum over the
// length of the whole super-segment. Every slot is the payload of one segment;
// IPv4 id and sequence number count up from those given, PSH and FIN stay on the
// last segment only.
//
// Send overwrites the headroom in front of the headers, and in the slower modes
// the payload that has been sent; the train is spent when it returns.
// [packet.ErrFull]: the burst, or the rest of it, was dropped. [ErrNoRoute]: the
// hop is not ready. [ErrTooBig]: a slot exceeds the interface's MTU.
// net.ErrClosed after Close.
func (s *Sender) Send(hop *NextHop, t *packet.Train, ipLen, tcpLen int) error {
	if t.Len() == 0 {
		return nil
	}
	h := hop.cur.Load()
	hop.touch()
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case !h.ready:
		return ErrNoRoute
	case ipLen+tcpLen+min(t.SlotSize(), len(t.Bytes())) > h.dev.mtu:
		return ErrTooBig
	}
	var errno unix.Errno
	size := len(t.Bytes())
	switch {
	case !h.framed || h.dev.refusesPacket.Load() || s.resolver.noPacket.Load():
		errno = s.sendRaw(h, hop.dst, t, ipLen, tcpLen)
	case !s.sockets.vnet:
		errno = s.sendSingly(h, hop.dst, t, ipLen, tcpLen)
	case h.dev.kind != linkEther || t.Len() > 1 && (h.dev.refusesGSO.Load() || s.resolver.noGSO.Load()):
		errno = s.sendSingly(h, hop.dst, t, ipLen, tcpLen)
	default:
		errno = s.sendSuper(h, t, ipLen, tcpLen)
		if t.Len() > 1 && refusal(errno) {
			if errno = s.sendSingly(h, hop.dst, t, ipLen, tcpLen); errno == 0 && !h.dev.refusesGSO.Swap(true) {
				s.log.Info("interface refuses super-segments, sending single packets", "interface", h.dev.name)
			}
		}
	}
	switch errno {
	case 0:
		s.sent.Add(uint64(size))
	case unix.EAGAIN, unix.ENOBUFS:
		s.refused.Add(1)
	}
	return s.verdict(errno)
}

// SendPacket sends one complete IP packet whose TCP checksum field holds the
// folded, not inverted pseudo-header sum. It may change that field. Errors are
// those of Send.
func (s *Sender) SendPacket(hop *NextHop, pkt []byte) error {
	ipLen, tcpLen, ok := headerLengths(pkt)
	if !ok {
		return fmt.Errorf("send packet of %d bytes: not a TCP packet", len(pkt))
	}
	h := hop.cur.Load()
	hop.touch()
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case !h.ready:
		return ErrNoRoute
	case len(pkt) > h.dev.mtu:
		return ErrTooBig
	}
	m := s.spare.Take()
	defer s.spare.give(m)
	m.reset()
	m.add(pkt[:ipLen+tcpLen], pkt[ipLen+tcpLen:])
	if !h.framed || h.dev.refusesPacket.Load() || s.resolver.noPacket.Load() {
		return s.verdict(m.sendRaw(&s.sockets, h, hop.dst, ipLen))
	}
	return s.verdict(s.sendFramed(m, h, hop.dst, ipLen, tcpLen))
}

// Answer sends one complete IP packet, TCP checksum and all, to a stranger, for
// whom no handle is kept: back to the neighbour that brought the stranger's
// packet. No route is asked, so none can send it into the tunnel, and no
// neighbour is looked for. Errors are those of Send.
func (s *Sender) Answer(to Origin, pkt []byte) error {
	ipLen, tcpLen, ok := headerLengths(pkt)
	if !ok {
		return fmt.Errorf("answer with %d bytes: not a TCP packet", len(pkt))
	}
	if s.closed.Load() {
		return net.ErrClosed
	}
	m := s.spare.Take()
	defer s.spare.give(m)
	m.reset()
	m.add(pkt[:ipLen+tcpLen], pkt[ipLen+tcpLen:])
	v6 := pkt[0]>>4 == 6
	if s.sockets.bare >= 0 {
		return failure(m.sendBack(s.sockets.bare, to, v6))
	}
	dst := netip.AddrFrom4([4]byte(pkt[16:20]))
	if v6 {
		dst = netip.AddrFrom16([16]byte(pkt[24:40]))
	}
	return failure(m.sendKernel(&s.sockets, to.IfIndex, dst))
}

// sendSuper sends the train as one super-segment, or as few as the interface
// allows.
func (s *Sender) sendSuper(h *hop, t *packet.Train, ipLen, tcpLen int) unix.Errno {
	headers := ipLen + tcpLen
	linkLen := h.linkLen()
	frame := t.Frame(vnetLen + linkLen + headers)
	v6 := frame[vnetLen+linkLen]>>4 == 6
	most := h.dev.segments(v6, headers, t.SlotSize())
	if t.Len() <= most {
		return s.sendFrame(h, frame, v6, ipLen, tcpLen, t.SlotSize(), t.Len())
	}
	// The headers of each further piece go where the payload before it was.
	var super [120]byte
	copy(super[:], frame[vnetLen+linkLen:][:headers])
	payload := len(t.Bytes())
	for i := 0; i < t.Len(); i += most {
		c := cut{first: i, offset: i * t.SlotSize(), last: i+most >= t.Len()}
		c.size = min(most*t.SlotSize(), payload-c.offset)
		piece := frame[c.offset:][:vnetLen+linkLen+headers+c.size]
		c.headers(piece[vnetLen+linkLen:], super[:headers], ipLen, tcpLen+payload)
		n := min(most, t.Len()-i)
		if errno := s.sendFrame(h, piece, v6, ipLen, tcpLen, t.SlotSize(), n); errno != 0 {
			if i > 0 {
				return unix.ENOBUFS // part of it is gone: no way to start anew
			}
			copy(frame[vnetLen+linkLen:], super[:headers])
			return errno
		}
	}
	return 0
}

// sendFrame sends n segments in one system call. A single one is refused by the
// kernel if it is called a super-segment.
func (s *Sender) sendFrame(h *hop, frame []byte, v6 bool, ipLen, tcpLen, slot, n int) unix.Errno {
	linkLen := h.linkLen()
	if n == 1 {
		slot = 0
	}
	putVnet(frame, v6, linkLen, ipLen, tcpLen, slot)
	copy(frame[vnetLen:vnetLen+linkLen], h.ether[:])
	return sendto(s.sockets.of(h), frame, &h.to)
}

// sendSingly sends each segment as a packet of its own.
func (s *Sender) sendSingly(h *hop, dst addr, t *packet.Train, ipLen, tcpLen int) unix.Errno {
	m := s.spare.Take()
	defer s.spare.give(m)
	m.split(t, ipLen, tcpLen)
	return s.sendFramed(m, h, dst, ipLen, tcpLen)
}

// sendFramed sends packets through the packet socket, and through a raw one if
// the interface does not take them.
func (s *Sender) sendFramed(m *packets, h *hop, dst addr, ipLen, tcpLen int) unix.Errno {
	errno := m.sendFramed(&s.sockets, h, ipLen, tcpLen)
	if !refusal(errno) {
		return errno
	}
	if errno = m.sendRaw(&s.sockets, h, dst, ipLen); errno == 0 && !h.dev.refusesPacket.Swap(true) {
		s.log.Info("interface refuses packets from a packet socket, using a raw socket", "interface", h.dev.name)
	}
	return errno
}

func (s *Sender) sendRaw(h *hop, dst addr, t *packet.Train, ipLen, tcpLen int) unix.Errno {
	m := s.spare.Take()
	defer s.spare.give(m)
	m.split(t, ipLen, tcpLen)
	return m.sendRaw(&s.sockets, h, dst, ipLen)
}

// refusal says whether an error means that this way of sending does not work
// here, rather than that it does not work now.
func refusal(e unix.Errno) bool {
	switch e {
	case unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EIO, unix.EFAULT, unix.EAFNOSUPPORT:
		return true
	}
	return false
}

// verdict turns an error of the kernel into one that callers branch on, and has
// routes looked at again if there was none.
func (s *Sender) verdict(e unix.Errno) error {
	err := failure(e)
	if errors.Is(err, ErrNoRoute) {
		s.resolver.poke()
	}
	if s.closed.Load() && e != 0 {
		return net.ErrClosed
	}
	return err
}

func failure(e unix.Errno) error {
	switch e {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return packet.ErrFull
	case unix.EMSGSIZE:
		return ErrTooBig
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL:
		return ErrNoRoute
	case unix.EBADF, unix.ENOTSOCK:
		return net.ErrClosed
	}
	return e
}

// Close releases the sockets. Sends that are under way end with any error.
func (s *Sender) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	s.sockets.disarm()
	return nil
}

// linkLen is the number of bytes in front of the IP header.
func (h *hop) linkLen() int {
	if h.dev.kind == linkEther {
		return etherLen
	}
	return 0
}

// segments is the largest number of segments of slot bytes in one super-segment.
func (d *device) segments(v6 bool, headers, slot int) int {
	size := d.gsoSize4
	if v6 {
		size = d.gsoSize6
	}
	// The limit is for the whole frame; newer kernels split a frame that reaches it.
	return max(1, min((size-1-etherLen-headers)/max(slot, 1), d.gsoSegs))
}
