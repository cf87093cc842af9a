package link

import (
	"errors"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Options say how a [Sender] works. The zero value is right for production.
type Options struct {
	Log hclog.Logger // nil: none

	// NoGSO and NoPacketSocket force the slower paths that are otherwise taken
	// where the kernel or a device refuses the faster one.
	NoGSO          bool
	NoPacketSocket bool
}

// Sender puts finished IP packets on the wire. It may be used by any number of
// goroutines at once; it never blocks and never allocates.
type Sender struct{ log hclog.Logger }

// NewSender opens the sockets in the network namespace of the calling thread.
func NewSender(r *Resolver, opts Options) (*Sender, error) { return nil, errors.ErrUnsupported }

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
// hop is not ready. net.ErrClosed after Close.
func (s *Sender) Send(hop *NextHop, t *packet.Train, ipLen, tcpLen int) error {
	return errors.ErrUnsupported
}

// SendPacket sends one complete IP packet whose TCP checksum field holds the
// folded, not inverted pseudo-header sum. It may change that field. Errors are
// those of Send.
func (s *Sender) SendPacket(hop *NextHop, pkt []byte) error { return errors.ErrUnsupported }

// Close releases the sockets.
func (s *Sender) Close() error { return nil }
