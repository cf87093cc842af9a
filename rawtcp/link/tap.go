package link

import (
	"errors"

	"github.com/hashicorp/go-hclog"
)

// Packet is one received TCP packet, or a super-segment of several that the
// kernel or the network card merged.
type Packet struct {
	// IP starts at the IP header and ends with the TCP payload (no padding). It
	// may be changed in place and is valid until the next Recv.
	IP []byte
	// SegmentSize is the TCP payload of each merged segment but the last, in
	// bytes; 0 for a packet that was not merged or if that is not known.
	SegmentSize int
	// IfIndex is the interface on which it arrived.
	IfIndex int
}

// TapOptions say how a [Tap] works. The zero value is right for production.
type TapOptions struct {
	Log hclog.Logger // nil: none

	// NoVnetHdr and NoRing force the slower paths that are otherwise taken where
	// the kernel lacks the faster one.
	NoVnetHdr bool
	NoRing    bool
}

// Tap receives the TCP packets for a set of local ports, from all interfaces,
// before the kernel's own TCP/IP stack and its firewall see them. Recv belongs
// to one goroutine; the other methods may be called by any.
type Tap struct{ log hclog.Logger }

// NewTap opens the socket in the network namespace of the calling thread. It
// receives nothing before the first SetFilter.
func NewTap(opts TapOptions) (*Tap, error) { return nil, errors.ErrUnsupported }

// SetFilter replaces the local ports to receive and the interfaces to ignore.
// No packet that both the old and the new set want is lost.
func (t *Tap) SetFilter(ports []uint16, excludeIfindex []int) error { return errors.ErrUnsupported }

// Recv waits until a packet is there and returns all that are there without
// waiting again, bounded by the buffers. The slice and what it points to are
// valid until the next call. TCP checksums are not verified. net.ErrClosed
// after Close.
func (t *Tap) Recv() ([]Packet, error) { return nil, errors.ErrUnsupported }

// Dropped counts the packets that the kernel threw away because Recv was late.
func (t *Tap) Dropped() uint64 { return 0 }

// Mode says how packets are received, for status.
func (t *Tap) Mode() string { return "none" }

// Close makes Recv return net.ErrClosed.
func (t *Tap) Close() error { return nil }
