package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/openbmx/lightweight-tunnel/node/tun"
)

// Segment does what a kernel does with a packet written to a TUN: it completes
// the checksum that was left open, cuts a super-packet into the packets that it
// stands for, and checks the result. The returned packets own their memory. An
// error says why a kernel would refuse it, or what a receiver would find wrong.
func Segment(h tun.Header, p []byte) ([][]byte, error) {
	start, proto, err := transportOf(p)
	if err != nil {
		return nil, err
	}
	p = append([]byte(nil), p...)
	if h.Flags&tun.NeedsChecksum != 0 {
		at := int(h.CsumStart) + int(h.CsumOffset)
		switch {
		case int(h.CsumStart) != start || int(h.CsumOffset) != checksumAt(proto):
			return nil, fmt.Errorf("checksum of protocol %d at %d+%d, want %d+%d", proto, h.CsumStart, h.CsumOffset, start, checksumAt(proto))
		case at+2 > len(p):
			return nil, errors.New("checksum beyond the packet")
		case binary.BigEndian.Uint16(p[at:]) != pseudo(p, start, proto):
			return nil, fmt.Errorf("checksum field holds %#04x, the pseudo-header sum is %#04x", binary.BigEndian.Uint16(p[at:]), pseudo(p, start, proto))
		}
	}
	pieces := [][]byte{p}
	if kind := h.GSOType &^ tun.GSOECN; kind != tun.GSONone {
		if h.Flags&tun.NeedsChecksum == 0 {
			return nil, errors.New("a super-packet whose checksum is not left open")
		}
		if pieces, err = cut(h, p, start, proto, kind); err != nil {
			return nil, err
		}
	}
	for _, piece := range pieces {
		if h.Flags&tun.NeedsChecksum != 0 {
			complete(piece, start, int(h.CsumOffset), proto)
		}
		if err := Check(piece); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// cut splits a super-packet; the transport checksums of the pieces stay open.
func cut(h tun.Header, p []byte, start int, proto, kind uint8) ([][]byte, error) {
	header := start + 8
	wantProto, wantVersion := uint8(protoTCP), uint8(4)
	switch kind {
	case tun.GSOTCPv4:
	case tun.GSOTCPv6:
		wantVersion = 6
	case tun.GSOUDP:
		wantProto, wantVersion = protoUDP, p[0]>>4
	default:
		return nil, fmt.Errorf("unknown segmentation type %d", kind)
	}
	if proto != wantProto || p[0]>>4 != wantVersion {
		return nil, fmt.Errorf("segmentation type %d with protocol %d in IPv%d", kind, proto, p[0]>>4)
	}
	if proto == protoTCP && len(p) > start+12 {
		header = start + int(p[start+12]>>4)*4
	}
	size := int(h.GSOSize)
	if size == 0 || header > len(p) || (int(h.HdrLen) != 0 && int(h.HdrLen) > len(p)) {
		return nil, fmt.Errorf("pieces of %d bytes behind a header of %d, in %d", size, header, len(p))
	}
	var pieces [][]byte
	for offset := 0; offset == 0 || offset < len(p)-header; offset += size {
		end := min(header+offset+size, len(p))
		piece := append(append([]byte(nil), p[:header]...), p[header+offset:end]...)
		last := end == len(p)
		if piece[0]>>4 == 4 {
			binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
			binary.BigEndian.PutUint16(piece[4:], binary.BigEndian.Uint16(p[4:])+uint16(len(pieces)))
			piece[10], piece[11] = 0, 0
			binary.BigEndian.PutUint16(piece[10:], ^sum(0, piece[:start]))
		} else {
			binary.BigEndian.PutUint16(piece[4:], uint16(len(piece)-40))
		}
		if proto == protoTCP {
			binary.BigEndian.PutUint32(piece[start+4:], binary.BigEndian.Uint32(p[start+4:])+uint32(offset))
			if !last {
				piece[start+13] &^= FIN | PSH
			}
			if len(pieces) > 0 && h.GSOType&tun.GSOECN != 0 {
				piece[start+13] &^= 0x80 // CWR
			}
		} else {
			binary.BigEndian.PutUint16(piece[start+4:], uint16(len(piece)-start))
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}
