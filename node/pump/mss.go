package pump

import "encoding/binary"

// clampMSS lowers the MSS option of a TCP SYN so that the answering side sends
// segments that fit packets of limit bytes (RFC 9293 3.7.1). It keeps a partial
// or complete checksum right and reports whether it changed p.
func clampMSS(p []byte, in *inner, limit int, partial bool) bool {
	if in.proto != protoTCP || in.l4 == 0 || p[in.l4+13]&tcpSYN == 0 {
		return false
	}
	most := limit - 20 - 20
	if in.v6 {
		most = limit - 40 - 20
	}
	if most < 536 {
		return false
	}
	opts := p[in.l4+20 : in.head]
	for i := 0; i < len(opts); {
		switch opts[i] {
		case 0:
			return false
		case 1:
			i++
			continue
		}
		if i+1 >= len(opts) || opts[i+1] < 2 || i+int(opts[i+1]) > len(opts) {
			return false
		}
		if opts[i] == 2 && opts[i+1] == 4 {
			old := binary.BigEndian.Uint16(opts[i+2:])
			if int(old) <= most {
				return false
			}
			binary.BigEndian.PutUint16(opts[i+2:], uint16(most))
			if !partial {
				field := p[in.l4+16:]
				updateChecksum(field, in.l4+20+i+2-in.l4, old, uint16(most))
			}
			return true
		}
		i += int(opts[i+1])
	}
	return false
}

// updateChecksum mends the checksum at field for a 16-bit value that changed
// from old to new at offset at of the summed bytes (RFC 1624, equation 3).
func updateChecksum(field []byte, at int, old, now uint16) {
	if at&1 == 1 { // the value straddles two words of the sum
		old, now = old<<8|old>>8, now<<8|now>>8
	}
	c := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, ^fold(uint64(^c)+uint64(^old)+uint64(now)))
}
