package link

import (
	"encoding/binary"
	"iter"
)

// attributes yields type and content of each route attribute (struct rtattr) in
// b, up to the first that does not fit.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	const header = 4
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= header {
			n := int(binary.NativeEndian.Uint16(b))
			if n < header || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:]), b[header:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}
