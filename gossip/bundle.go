package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// What gossip puts into memberlist's messages begins with one byte that says
// what it is. Unknown kinds are dropped, so that later versions can speak of
// more.
//
//	user message: | kindAdvert | sealed advert |
//	push/pull:    | kindAdvert | length 2 | sealed advert | length 2 | sealed advert | ...
//
// Lengths are in bytes, big endian.
const kindAdvert = 1

// maxBundle bounds a push/pull, in bytes: some thousand adverts of usual size.
const maxBundle = 2 << 20

var errBundle = errors.New("bundle of adverts is cut short")

// appendNote encodes one sealed advert as a user message.
func appendNote(dst, sealed []byte) []byte { return append(append(dst, kindAdvert), sealed...) }

// parseNote returns the sealed advert in a user message; it is a view into data.
func parseNote(data []byte) ([]byte, error) {
	if len(data) == 0 || data[0] != kindAdvert {
		return nil, errors.New("user message of an unknown kind")
	}
	if len(data)-1 > message.MaxAdvert {
		return nil, fmt.Errorf("user message of %d bytes is too long", len(data))
	}
	return data[1:], nil
}

// appendBundle encodes sealed adverts, beginning with the one at first and going
// around. What does not fit is left out: whoever calls varies first, so that
// the next push/pull brings others.
func appendBundle(dst []byte, adverts [][]byte, first int) []byte {
	dst = append(dst, kindAdvert)
	for i := range adverts {
		a := adverts[(first+i)%len(adverts)]
		if len(dst)+2+len(a) > maxBundle {
			break
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(a)))
		dst = append(dst, a...)
	}
	return dst
}

// parseBundle calls each with every sealed advert in data, views into it. It
// stops with an error at the first that is not whole; those before it count.
func parseBundle(data []byte, each func(sealed []byte)) error {
	if len(data) == 0 || data[0] != kindAdvert {
		return errors.New("push/pull state of an unknown kind")
	}
	if len(data) > maxBundle {
		return fmt.Errorf("push/pull state of %d bytes is too long", len(data))
	}
	for data = data[1:]; len(data) > 0; {
		if len(data) < 2 {
			return errBundle
		}
		n := int(binary.BigEndian.Uint16(data))
		if data = data[2:]; len(data) < n {
			return errBundle
		}
		each(data[:n:n])
		data = data[n:]
	}
	return nil
}
