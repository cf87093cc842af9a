package impair

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Flow names a TCP or UDP flow of IPv4 or IPv6, both directions the same. Its
// zero value is no flow.
type Flow struct {
	a, b     [16]byte // the smaller end first
	ap, bp   uint16
	protocol uint8
}

const (
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// NewFlow names the flow between two ends; network is "tcp" or "udp".
func NewFlow(network string, a, b netip.AddrPort) (Flow, error) {
	f := Flow{a: a.Addr().As16(), b: b.Addr().As16(), ap: a.Port(), bp: b.Port()}
	switch network {
	case "tcp":
		f.protocol = protocolTCP
	case "udp":
		f.protocol = protocolUDP
	default:
		return Flow{}, fmt.Errorf("%q has no flows here, want tcp or udp", network)
	}
	return f.canonical(), nil
}

// FlowOf reads the flow of an Ethernet frame. Frames of anything else, and
// fragments, have none.
func FlowOf(frame []byte) Flow {
	var f Flow
	if len(frame) < ethernetHeader+20 {
		return f
	}
	packet := frame[ethernetHeader:]
	var ports []byte
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		header := int(packet[0]&0xf) * 4
		if binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 || header < 20 || len(packet) < header {
			return f
		}
		f.protocol = packet[9]
		f.a = netip.AddrFrom4([4]byte(packet[12:])).As16()
		f.b = netip.AddrFrom4([4]byte(packet[16:])).As16()
		ports = packet[header:]
	case etherIPv6:
		if len(packet) < 40 {
			return f
		}
		f.protocol = packet[6]
		f.a, f.b = [16]byte(packet[8:]), [16]byte(packet[24:])
		ports = packet[40:]
	default:
		return f
	}
	if f.protocol != protocolTCP && f.protocol != protocolUDP || len(ports) < 4 {
		return Flow{}
	}
	f.ap, f.bp = binary.BigEndian.Uint16(ports), binary.BigEndian.Uint16(ports[2:])
	return f.canonical()
}

// canonical is the flow with the smaller end first.
func (f Flow) canonical() Flow {
	if order := bytes.Compare(f.a[:], f.b[:]); order > 0 || order == 0 && f.ap > f.bp {
		f.a, f.b, f.ap, f.bp = f.b, f.a, f.bp, f.ap
	}
	return f
}

// String is "tcp 192.0.2.1:4000 192.0.2.2:9000".
func (f Flow) String() string {
	if f == (Flow{}) {
		return "no flow"
	}
	network := "udp"
	if f.protocol == protocolTCP {
		network = "tcp"
	}
	end := func(address [16]byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(address).Unmap(), port)
	}
	return fmt.Sprint(network, " ", end(f.a, f.ap), " ", end(f.b, f.bp))
}

// MarshalText is String, so that flows can be keys of JSON objects.
func (f Flow) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ofTheCable says whether a frame is between neighbours (ARP, neighbour and
// router discovery). On a real path those never leave the last cable: what is
// far away cannot lose them.
func ofTheCable(frame []byte) bool {
	if len(frame) < ethernetHeader {
		return true
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return true
	case etherIPv6:
		const icmpType = ethernetHeader + 40
		if len(frame) <= icmpType || frame[ethernetHeader+6] != protocolICMPv6 {
			return false
		}
		return frame[icmpType] >= 133 && frame[icmpType] <= 137 // RFC 4861
	}
	return false
}
