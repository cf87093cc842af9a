package link

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// vnetLen is the size of struct virtio_net_hdr (virtio 1.2, 5.1.6) as
// PACKET_VNET_HDR wants it: without the number of buffers, in host byte order.
//
//	flags 1 | gso_type 1 | hdr_len 2 | gso_size 2 | csum_start 2 | csum_offset 2
const vnetLen = 10

const tcpChecksumOffset = 16

// putVnet writes the header for a frame of linkLen bytes of link layer and a TCP
// packet whose checksum is to be finished by the kernel or the device. A segment
// size of 0 means that the packet is not to be segmented.
func putVnet(b []byte, v6 bool, linkLen, ipLen, tcpLen, segment int) {
	_ = b[vnetLen-1]
	b[0], b[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, unix.VIRTIO_NET_HDR_GSO_NONE
	if segment > 0 {
		b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
		if v6 {
			b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
		}
	}
	binary.NativeEndian.PutUint16(b[2:], uint16(linkLen+ipLen+tcpLen))
	binary.NativeEndian.PutUint16(b[4:], uint16(segment))
	binary.NativeEndian.PutUint16(b[6:], uint16(linkLen+ipLen))
	binary.NativeEndian.PutUint16(b[8:], tcpChecksumOffset)
}

// segmentSize is the TCP payload per segment of a received super-segment, or 0
// if it is none.
func segmentSize(vnet []byte) int {
	switch vnet[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
		return int(binary.NativeEndian.Uint16(vnet[4:]))
	}
	return 0
}
