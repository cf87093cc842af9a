package tun

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Header is the virtio_net_hdr in front of each packet that goes through a
// [Queue] (virtio 1.2, 5.1.6; the ten-byte form without num_buffers). All offsets count
// from the first byte of the IP header.
//
//	flags 1 | gso_type 1 | hdr_len 2 | gso_size 2 | csum_start 2 | csum_offset 2
//
// The numbers are in the byte order of this host, as TUN and AF_PACKET use it
// when nobody asked for another. The zero value is a complete packet.
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // a hint only: the kernel says how much lay in the first buffer, not where the payload begins
	GSOSize    uint16 // payload bytes of each segment but the last
	CsumStart  uint16 // where the checksum's range begins: the TCP or UDP header
	CsumOffset uint16 // where in that header the checksum stands
}

// HeaderLen is the length of an encoded [Header] in bytes.
const HeaderLen = 10

// MaxRead is the size of a buffer that takes every packet a [Queue] reads.
const MaxRead = HeaderLen + 65535

// The bits of Header.Flags and the values of Header.GSOType that TUN uses.
const (
	NeedsChecksum = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM // the checksum field holds the folded pseudo-header sum only
	ChecksumGood  = unix.VIRTIO_NET_HDR_F_DATA_VALID // somebody verified the checksum already

	GSONone  = unix.VIRTIO_NET_HDR_GSO_NONE
	GSOTCPv4 = unix.VIRTIO_NET_HDR_GSO_TCPV4
	GSOTCPv6 = unix.VIRTIO_NET_HDR_GSO_TCPV6
	GSOUDP   = unix.VIRTIO_NET_HDR_GSO_UDP_L4 // equal datagrams cut from one, as UDP_SEGMENT does
	GSOECN   = unix.VIRTIO_NET_HDR_GSO_ECN    // set beside a TCP type: only the first segment carries CWR
)

var errShortHeader = errors.New("packet is shorter than its virtio_net_hdr of 10 bytes")

// Put writes h into the first [HeaderLen] bytes of dst.
func (h Header) Put(dst []byte) {
	_ = dst[HeaderLen-1]
	dst[0], dst[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(dst[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(dst[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(dst[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(dst[8:], h.CsumOffset)
}

// Append encodes h behind dst.
func (h Header) Append(dst []byte) []byte {
	var b [HeaderLen]byte
	h.Put(b[:])
	return append(dst, b[:]...)
}

// ParseHeader decodes what stands in front of the packet in b. It checks the
// length of b and nothing else: whether offsets lie inside the packet is for the
// one who uses them.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, errShortHeader
	}
	return Header{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}, nil
}
