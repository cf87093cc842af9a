package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Packet is one received TCP packet, or a super-segment of several that the
// kernel or the network card merged.
type Packet struct {
	// IP starts at the IP header and ends with the TCP payload (no padding). It
	// holds whole IP and TCP headers, may be changed in place and is valid until
	// the next Recv.
	IP []byte
	// SegmentSize is the TCP payload of each merged segment but the last, in
	// bytes; 0 for a packet that was not merged or if that is not known.
	SegmentSize int
	// From is where it came from.
	From Origin
}

// Origin is where a packet came from: the interface, and the neighbour on its
// link that brought it. With it a stranger is answered without a look at routes
// and neighbours, which a flood from spoofed addresses would otherwise fill.
type Origin struct {
	IfIndex int
	Halen   uint8 // bytes of Address; 0: the link has no addresses
	Address [8]uint8
}

func originOf(a *unix.RawSockaddrLinklayer) Origin {
	return Origin{IfIndex: int(a.Ifindex), Halen: min(a.Halen, 8), Address: a.Addr}
}

// TapOptions say how a [Tap] works. The zero value is right for production.
type TapOptions struct {
	Log hclog.Logger // nil: none

	// NoVnetHdr and NoRing force the slower ways that are otherwise taken where
	// the kernel lacks the faster one.
	NoVnetHdr bool
	NoRing    bool

	// ReceiveBuffer bounds what waits in the kernel, in bytes; 0: 4 MiB. Ring is the
	// memory shared with the kernel, in which single packets wait: 1 MiB at least, 0: 3.
	ReceiveBuffer, Ring int
}

const (
	// maxPacket is the largest frame that is taken whole: an IPv6 super-segment
	// with link layer and vnet_hdr. Larger ones (BIG TCP) must be switched on by
	// an administrator, and carry an extension header that the filter refuses.
	maxPacket = 65535 + 40 + 64
	// maxBatch bounds the packets of one Recv, so that the first of them do not
	// grow old, and so that the ring has room for what comes meanwhile.
	maxBatch = 128
)

// source is one way of getting packets out of the kernel.
type source interface {
	// take appends what is there to batch, without waiting. It may reuse the
	// memory of what it returned before.
	take(fd int, batch []Packet) []Packet
}

// Tap receives the TCP packets for a set of local ports, from all interfaces,
// before the kernel's own TCP/IP stack and its firewall see them. Recv and Poll
// belong to one goroutine; the other methods may be called by any.
type Tap struct {
	log     hclog.Logger
	file    *os.File
	raw     syscall.RawConn
	source  source
	mode    string
	read    func(uintptr) bool // t.poll, made once
	once    func(uintptr)      // one look, made once
	batch   []Packet
	spin    Spin
	bound   atomic.Bool
	closed  atomic.Bool
	dropped atomic.Uint64
	unmap   runtime.Cleanup
	ring    *ring // nil: none
	group   group // for those who wait for more than this tap
}

// NewTap opens the socket in the network namespace of the calling thread. It
// receives nothing before the first SetFilter.
func NewTap(opts TapOptions) (*Tap, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	if opts.ReceiveBuffer == 0 {
		opts.ReceiveBuffer = 4 << 20
	}
	if opts.Ring == 0 {
		opts.Ring = usualRing
	}
	t := &Tap{log: opts.Log, batch: make([]Packet, 0, maxBatch)}
	fd := -1
	if !opts.NoRing && !opts.NoVnetHdr {
		var err error
		if fd, t.ring, err = openRing(opts.Ring); err != nil {
			opts.Log.Debug("no receive ring", "reason", err)
			fd = -1
		} else {
			t.source, t.mode = t.ring, "af_packet ring"
			t.unmap = runtime.AddCleanup(t, func(mem []byte) { _ = unix.Munmap(mem) }, t.ring.mem)
		}
	}
	if fd < 0 {
		var err error
		var q *queue
		if fd, q, err = openQueue(!opts.NoVnetHdr); err != nil {
			return nil, fmt.Errorf("open packet socket: %w (root or CAP_NET_RAW is needed)", err)
		}
		t.source, t.mode = q, "af_packet"
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, opts.ReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, opts.ReceiveBuffer)
	}
	// Before Linux 4.20 the filter alone keeps out what we send ourselves.
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)

	t.file = os.NewFile(uintptr(fd), "packet socket")
	var err error
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	t.read = t.poll
	t.once = func(fd uintptr) { t.batch = t.source.take(int(fd), t.batch[:0]) }
	return t, nil
}

// SetFilter replaces the local ports to receive and the interfaces to ignore.
// No packet that both the old and the new set want is lost.
func (t *Tap) SetFilter(ports []uint16, excludeIfindex []int) error {
	program, err := filter(ports, excludeIfindex)
	if err != nil {
		return err
	}
	var failure error
	err = t.raw.Control(func(fd uintptr) {
		if failure = attachFilter(int(fd), program); failure != nil || t.bound.Load() {
			return
		}
		// Only ETH_P_ALL is served before tc ingress, where the guard drops.
		all := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL)}
		if failure = unix.Bind(int(fd), all); failure != nil {
			failure = fmt.Errorf("bind packet socket: %w", failure)
			return
		}
		t.bound.Store(true)
	})
	if err != nil {
		return t.closedOr(err)
	}
	return failure
}

// Recv waits until a packet is there and returns all that are there without
// waiting again, bounded by the buffers. The slice and what it points to are
// valid until the next call. TCP checksums are not verified. No packet and no
// error after [Tap.Wake], net.ErrClosed after Close.
func (t *Tap) Recv() ([]Packet, error) {
	if err := t.raw.Read(t.read); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := t.file.SetReadDeadline(time.Time{}); err != nil {
				return nil, t.closedOr(err)
			}
			return nil, nil
		}
		t.release()
		return nil, t.closedOr(err)
	}
	return t.batch, nil
}

// Poll is Recv that never waits: no packets and no error if none are there.
func (t *Tap) Poll() ([]Packet, error) {
	t.group.hush()
	if err := t.raw.Control(t.once); err != nil {
		t.release()
		return nil, t.closedOr(err)
	}
	return t.batch, nil
}

// Descriptor is readable while [Tap.Poll] would bring something, and from a
// [Tap.Wake] to the next Poll.
func (t *Tap) Descriptor() (int, error) {
	var failure error
	err := t.raw.Control(func(socket uintptr) { failure = t.group.open(t, int(socket)) })
	if err = errors.Join(err, failure); err != nil {
		return 0, t.closedOr(err)
	}
	return t.group.epoll, nil
}

// release gives the ring back once the receiving goroutine knows that the tap is
// closed, and looks at it no more.
func (t *Tap) release() {
	if t.closed.Load() && t.ring != nil {
		t.unmap.Stop()
		t.ring.release()
	}
}

// Wake makes a Recv that waits, or the next one, return without packets.
func (t *Tap) Wake() {
	if !t.group.ring() {
		_ = t.file.SetReadDeadline(time.Unix(1, 0)) // fails only when closed, which wakes too
	}
}

// poll takes what is there. Before it reports that there is nothing, whereupon
// the goroutine sleeps, it looks a few more times.
func (t *Tap) poll(fd uintptr) bool {
	for vain := 0; ; vain++ {
		t.batch = t.source.take(int(fd), t.batch[:0])
		if len(t.batch) > 0 {
			t.spin.Found(vain)
			return true
		}
		if !t.spin.Again(vain) {
			return false
		}
	}
}

// Dropped counts the packets that the kernel threw away because Recv was late.
func (t *Tap) Dropped() uint64 {
	_ = t.raw.Control(func(fd uintptr) {
		// Reading resets the kernel's counter.
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			t.dropped.Add(uint64(s.Drops))
		}
	})
	return t.dropped.Load()
}

// Mode says how packets are received, for status: "af_packet ring" or
// "af_packet".
func (t *Tap) Mode() string { return t.mode }

// Close makes Recv return net.ErrClosed.
func (t *Tap) Close() error {
	if t.closed.Swap(true) {
		return net.ErrClosed
	}
	return t.file.Close()
}

func (t *Tap) closedOr(err error) error {
	if t.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("packet socket: %w", err)
}

// parse makes a Packet of what starts at an IP header. Padding of the link layer
// is cut off; what is cut short or no whole TCP header is refused.
func parse(b []byte, segment int, from Origin) (Packet, bool) {
	if _, _, ok := headerLengths(b); !ok {
		return Packet{}, false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 == 6 {
		length = 40 + int(binary.BigEndian.Uint16(b[4:]))
	}
	if length > len(b) {
		return Packet{}, false
	}
	b = b[:length:length]
	if _, _, ok := headerLengths(b); !ok { // the headers must fit the stated length too
		return Packet{}, false
	}
	return Packet{IP: b, SegmentSize: segment, From: from}, true
}
