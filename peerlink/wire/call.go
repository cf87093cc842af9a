package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// Call asks the peer to look for a direct path together, CallAnswer agrees. Their
// content is
//
//	| try 8 | delay 2 | mapping 1 | filtering 1 | flags 1 | step 2 | n 1 | n candidates |
//
// A CallAnswer has a code 1 in front of that. The flag 1 says that the NAT
// preserves ports. A candidate is
//
//	| family and transport 1 | kind 1 | port 2 | address 4 or 16 |
//
// where the bit 0x80 of the first byte says IPv6, and the rest is the transport as
// in [packet.Kind]. Delay is in milliseconds.
type Call struct {
	Try   uint64        // names the try, chosen by the caller at random
	Delay time.Duration // how long the call travels, as far as the caller knows; at most a minute
	Offer punch.Offer
}

// CallAnswer answers a Call; Delay is not used.
type CallAnswer struct {
	Code CallCode
	Call
}

// CallCode says whether the called node takes part.
type CallCode uint8

// The codes of answers.
const (
	CallTaken  CallCode = iota
	CallNotNow          // direct paths are switched off there
)

// Probe asks on a path whether the peer is there. It is sent aside of the stream.
// Its content is | try 8 | seq 4 |.
type Probe struct {
	Try uint64
	Seq uint32
}

// Probed answers a Probe on the path on which it came: Try and Seq of it, and from
// where it came. Its content is | try 8 | seq 4 | port 2 | address 16 |, with an
// IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2).
type Probed struct {
	Probe
	Seen netip.AddrPort // invalid: not known
}

// parsePunching decodes the content of a frame that serves direct paths.
func parsePunching(kind byte, b []byte) (f Frame, err error) {
	switch kind {
	case typeCall:
		f, err = parseCall(b)
	case typeCallAnswer:
		f, err = parseCallAnswer(b)
	case typeProbe:
		f, err = parseProbe(b)
	case typeProbed:
		f, err = parseProbed(b)
	}
	return f, err
}

const (
	callLen   = 8 + 2 + 1 + 1 + 1 + 2 + 1
	probeLen  = 8 + 4
	probedLen = probeLen + 2 + 16

	candidateV6   = 0x80
	flagPreserves = 1
)

// Append encodes p behind dst.
func (p Probe) Append(dst []byte) []byte {
	return p.body(append(dst, typeProbe, 0, probeLen))
}

func (p Probe) body(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.Try)
	return binary.BigEndian.AppendUint32(dst, p.Seq)
}

func parseProbe(b []byte) (Probe, error) {
	if len(b) < probeLen {
		return Probe{}, fmt.Errorf("%w: probe of %d bytes", ErrFrame, len(b))
	}
	return Probe{Try: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint32(b[8:])}, nil
}

// Append encodes p behind dst.
func (p Probed) Append(dst []byte) []byte {
	dst = p.Probe.body(append(dst, typeProbed, 0, probedLen))
	var a [16]byte
	var port uint16
	if p.Seen.IsValid() {
		a, port = p.Seen.Addr().As16(), p.Seen.Port()
	}
	dst = binary.BigEndian.AppendUint16(dst, port)
	return append(dst, a[:]...)
}

func parseProbed(b []byte) (Probed, error) {
	if len(b) < probedLen {
		return Probed{}, fmt.Errorf("%w: answer to a probe of %d bytes", ErrFrame, len(b))
	}
	p, _ := parseProbe(b)
	a := netip.AddrFrom16([16]byte(b[probeLen+2:])).Unmap()
	if a == netip.IPv6Unspecified() {
		return Probed{Probe: p}, nil
	}
	return Probed{Probe: p, Seen: netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[probeLen:]))}, nil
}

// Append encodes c behind dst; candidates beyond [punch.MaxCandidates] and such
// without an address are left out.
func (c Call) Append(dst []byte) []byte { return appendCounted(dst, typeCall, c.body) }

// Append encodes c behind dst, as Call does.
func (c CallAnswer) Append(dst []byte) []byte {
	return appendCounted(dst, typeCallAnswer, func(dst []byte) []byte { return c.Call.body(append(dst, byte(c.Code))) })
}

func appendCounted(dst []byte, kind byte, body func([]byte) []byte) []byte {
	start := len(dst)
	dst = body(append(dst, kind, 0, 0))
	binary.BigEndian.PutUint16(dst[start+1:], uint16(len(dst)-start-frameHead))
	return dst
}

// maxDelay bounds what a call may say about its way.
const maxDelay = time.Minute

func (c Call) body(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, c.Try)
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(max(c.Delay, 0), maxDelay)/time.Millisecond))
	nat, flags := c.Offer.NAT, byte(0)
	if nat.Preserves {
		flags |= flagPreserves
	}
	dst = append(dst, byte(nat.Mapping), byte(nat.Filtering), flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(nat.Step))
	at, n := len(dst), 0
	dst = append(dst, 0)
	for _, k := range c.Offer.Candidates {
		if a := k.Addr.Addr().Unmap(); a.IsValid() && n < punch.MaxCandidates {
			first := byte(k.Transport) &^ candidateV6
			if a.Is6() {
				first |= candidateV6
			}
			dst = append(dst, first, byte(k.Kind))
			dst = binary.BigEndian.AppendUint16(dst, k.Addr.Port())
			dst = append(dst, a.AsSlice()...)
			n++
		}
	}
	dst[at] = byte(n)
	return dst
}

func parseCallAnswer(b []byte) (CallAnswer, error) {
	if len(b) == 0 {
		return CallAnswer{}, fmt.Errorf("%w: empty answer to a call", ErrFrame)
	}
	c, err := parseCall(b[1:])
	return CallAnswer{Code: CallCode(b[0]), Call: c}, err
}

func parseCall(b []byte) (Call, error) {
	if len(b) < callLen {
		return Call{}, fmt.Errorf("%w: call of %d bytes", ErrFrame, len(b))
	}
	c := Call{Try: binary.BigEndian.Uint64(b), Delay: time.Duration(binary.BigEndian.Uint16(b[8:])) * time.Millisecond}
	c.Offer.NAT = message.NAT{
		Mapping: message.Dependence(b[10]), Filtering: message.Dependence(b[11]), Preserves: b[12]&flagPreserves != 0,
		Step: int(int16(binary.BigEndian.Uint16(b[13:]))),
	}
	n := int(b[15])
	if n > punch.MaxCandidates || c.Delay > maxDelay ||
		c.Offer.NAT.Mapping > message.AddressAndPortDependent || c.Offer.NAT.Filtering > message.AddressAndPortDependent {
		return Call{}, fmt.Errorf("%w: call is out of bounds", ErrFrame)
	}
	b = b[callLen:]
	for range n {
		size := 4 + 4
		if len(b) > 0 && b[0]&candidateV6 != 0 {
			size = 4 + 16
		}
		if len(b) < size {
			return Call{}, fmt.Errorf("%w: call is cut in its candidates", ErrFrame)
		}
		a, _ := netip.AddrFromSlice(b[4:size])
		c.Offer.Candidates = append(c.Offer.Candidates, punch.Candidate{
			Transport: packet.Kind(b[0] &^ candidateV6), Kind: message.CandidateKind(b[1]),
			Addr: netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[2:])),
		})
		b = b[size:]
	}
	return c, nil
}
