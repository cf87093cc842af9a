// Package pcp is the part of the Port Control Protocol, version 2 (RFC 6887),
// that a host needs to open a port at its router: the opcodes ANNOUNCE and MAP,
// without options. It is a pure codec.
//
// A request is a header (RFC 6887, 7.1) and what its opcode wants:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Version = 2  |R|   Opcode    |           Reserved            |
//	|                  Requested lifetime (seconds)                 |
//	|             Client's address (128 bits, v4-mapped)            |
//
// A response (7.2) has R set, and result, lifetime and epoch in these places:
//
//	|  Version = 2  |R|   Opcode    |   Reserved    |  Result code  |
//	|                      Lifetime (seconds)                       |
//	|                       Epoch (seconds)                         |
//	|                      Reserved (96 bits)                       |
//
// MAP (11.1) adds to both, to the response unless it is an error:
//
//	|                     Mapping nonce (96 bits)                   |
//	|   Protocol    |              Reserved (24 bits)               |
//	|         Internal port         |         External port         |
//	|            External address (128 bits, v4-mapped)             |
package pcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Map is what MAP asks for and what it is answered with.
type Map struct {
	Nonce    Nonce
	Protocol uint8  // IANA's number: 6 is TCP, 17 is UDP
	Internal uint16 // the host's own port
	// External is what the router gave; in a request what one would like to have.
	// Unspecified address, port zero: whatever there is.
	External netip.AddrPort
}

// Nonce proves that who renews or removes a mapping is who made it.
type Nonce [12]byte

const (
	version     = 2
	responseBit = 0x80
	headerSize  = 24
	mapSize     = 36
	longest     = 1100 // RFC 6887, 7
)

// Opcode says what a message is about.
type Opcode uint8

const (
	OpAnnounce Opcode = 0
	OpMap      Opcode = 1
)

// ErrVersion is returned for a message that is of another version; version 0 is
// NAT-PMP, whose servers answer that way to PCP.
var ErrVersion = errors.New("not PCP version 2")

// AppendAnnounce appends a request that changes nothing: whoever answers, speaks
// PCP (RFC 6887, 14.1). client is the address that the request is sent from.
func AppendAnnounce(b []byte, client netip.Addr) []byte {
	return appendHeader(b, OpAnnounce, 0, client)
}

// AppendMap appends a request for a mapping of so many seconds, for a longer life
// of a mapping, or, with zero seconds, for its end (RFC 6887, 11.1 and 15).
func AppendMap(b []byte, client netip.Addr, seconds uint32, m Map) []byte {
	b = appendHeader(b, OpMap, seconds, client)
	b = append(b, m.Nonce[:]...)
	b = append(b, m.Protocol, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Internal)
	b = binary.BigEndian.AppendUint16(b, m.External.Port())
	external := m.External.Addr()
	if !external.IsValid() {
		external = netip.IPv4Unspecified()
	}
	return appendAddr(b, external)
}

func appendHeader(b []byte, op Opcode, seconds uint32, client netip.Addr) []byte {
	b = append(b, version, byte(op), 0, 0)
	b = binary.BigEndian.AppendUint32(b, seconds)
	return appendAddr(b, client)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	wide := a.As16() // of an IPv4 address: the v4-mapped form that PCP wants
	return append(b, wide[:]...)
}

// Response is a server's answer, or what it announces unasked.
type Response struct {
	Opcode  Opcode
	Result  Result
	Seconds uint32 // of a mapping; of an error: how long it will last
	Epoch   uint32 // seconds since the server lost its mappings
	Map     Map    // if Opcode is OpMap and Result is Success
}

// ParseResponse reads a response; it keeps nothing of b. Options are skipped.
func ParseResponse(b []byte) (r Response, err error) {
	switch {
	case len(b) == 0:
		return r, errors.New("PCP response: empty")
	case b[0] != version:
		return r, fmt.Errorf("PCP response: %w but %d", ErrVersion, b[0])
	case len(b) < headerSize || len(b) > longest || len(b)%4 != 0:
		return r, fmt.Errorf("PCP response: %d bytes", len(b))
	case b[1]&responseBit == 0:
		return r, errors.New("PCP response: it is a request")
	}
	r.Opcode = Opcode(b[1] &^ responseBit)
	r.Result = Result(b[3])
	r.Seconds = binary.BigEndian.Uint32(b[4:])
	r.Epoch = binary.BigEndian.Uint32(b[8:])
	if r.Opcode != OpMap || r.Result != Success {
		return r, nil
	}
	b = b[headerSize:]
	if len(b) < mapSize {
		return Response{}, fmt.Errorf("PCP response: %d bytes of MAP, want %d", len(b), mapSize)
	}
	r.Map.Nonce = Nonce(b[:12])
	r.Map.Protocol = b[12]
	r.Map.Internal = binary.BigEndian.Uint16(b[16:])
	external := netip.AddrFrom16([16]byte(b[20:36])).Unmap()
	r.Map.External = netip.AddrPortFrom(external, binary.BigEndian.Uint16(b[18:]))
	return r, nil
}
