package message

import (
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// MaxCandidates bounds the candidates of an advert.
const MaxCandidates = 32

// Candidate is an endpoint under which a node may be reached on the underlay.
type Candidate struct {
	_         struct{} `cbor:",toarray"`
	Addr      netip.AddrPort
	Kind      CandidateKind
	Transport packet.Kind // RawTCP or UDP
}

// CandidateKind says how a node knows of an endpoint. Receivers keep kinds that
// they do not know: an endpoint is worth a try whatever its kind.
type CandidateKind uint8

// The kinds of candidate.
const (
	Host       CandidateKind = iota + 1 // an address of one of the node's interfaces
	Mapped                              // what others see of the node's socket (STUN)
	PortMapped                          // what the router forwards on request (UPnP-IGD, NAT-PMP, PCP)
)

func (k CandidateKind) String() string {
	switch k {
	case Host:
		return "host"
	case Mapped:
		return "mapped"
	case PortMapped:
		return "portmap"
	}
	return "-"
}
