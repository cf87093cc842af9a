package rawtcp

import "encoding/binary"

// options are the TCP options that we understand. Others are skipped.
type options struct {
	mss    uint16 // 0: absent
	wscale int8   // -1: absent
	sack   bool   // SACK-permitted
	stamps bool   // timestamps: val and ecr are valid
	val    uint32
	ecr    uint32
}

// stampLen is the size of the options on every segment after the handshake:
// nop, nop, timestamps.
const stampLen = 12

// maxOptions is what a SYN with everything needs.
const maxOptions = 20

const (
	optEnd, optNop, optMSS, optScale, optSack, optStamps = 0, 1, 2, 3, 4, 8
)

// append lays the options out as Linux does (tcp_options_write): MSS, then
// SACK-permitted filling the two bytes that otherwise pad the timestamps, then
// the window scale behind one nop.
func (o *options) append(b []byte) []byte {
	if o.mss != 0 {
		b = append(b, optMSS, 4, byte(o.mss>>8), byte(o.mss))
	}
	switch {
	case o.stamps:
		if o.sack {
			b = append(b, optSack, 2, optStamps, 10)
		} else {
			b = append(b, optNop, optNop, optStamps, 10)
		}
		b = binary.BigEndian.AppendUint32(b, o.val)
		b = binary.BigEndian.AppendUint32(b, o.ecr)
	case o.sack:
		b = append(b, optNop, optNop, optSack, 2)
	}
	if o.wscale >= 0 {
		b = append(b, optNop, optScale, 3, byte(o.wscale))
	}
	return b
}

// parseOptions reads b into o and reports whether it was well formed.
func parseOptions(b []byte, o *options) bool {
	*o = options{wscale: -1}
	if len(b) == stampLen && binary.BigEndian.Uint32(b) == 0x0101080a {
		o.stamps = true
		o.val, o.ecr = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		return true
	}
	for len(b) > 0 {
		switch b[0] {
		case optEnd:
			return true
		case optNop:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		body := b[2:b[1]]
		switch {
		case b[0] == optMSS && len(body) == 2:
			o.mss = binary.BigEndian.Uint16(body)
		case b[0] == optScale && len(body) == 1:
			o.wscale = int8(min(body[0], 14)) // RFC 7323, 2.3
		case b[0] == optSack && len(body) == 0:
			o.sack = true
		case b[0] == optStamps && len(body) == 8:
			o.stamps = true
			o.val, o.ecr = binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
		}
		b = b[b[1]:]
	}
	return true
}
