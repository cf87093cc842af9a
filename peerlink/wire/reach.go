package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Reach asks a node whether it can pass datagrams on to another one, through
// Hops relays at most, itself included. Its content is | node 8 | hops 1 |.
type Reach struct {
	Node message.ShortID
	Hops uint8
}

// Reached answers a Reach: the round trip from the answering node to the other,
// and through how many relays the way leads, itself included; 0: it does not
// reach that node. Its content is | node 8 | hops 1 | microseconds 4 |.
type Reached struct {
	Node message.ShortID
	Hops uint8
	RTT  time.Duration // at most MaxReachedRTT
}

// MaxReachedRTT is the longest round trip that a Reached can tell.
const MaxReachedRTT = (1<<32 - 1) * time.Microsecond

const (
	reachLen   = 8 + 1
	reachedLen = reachLen + 4
)

// Append encodes r behind dst.
func (r Reach) Append(dst []byte) []byte {
	dst = append(dst, typeReach, 0, reachLen)
	dst = append(dst, r.Node[:]...)
	return append(dst, r.Hops)
}

// Append encodes r behind dst.
func (r Reached) Append(dst []byte) []byte {
	dst = append(dst, typeReached, 0, reachedLen)
	dst = append(dst, r.Node[:]...)
	dst = append(dst, r.Hops)
	return binary.BigEndian.AppendUint32(dst, uint32(min(max(r.RTT, 0), MaxReachedRTT)/time.Microsecond))
}

// parseReaching decodes the content of a frame that is about relays.
func parseReaching(kind byte, b []byte) (Frame, error) {
	want := reachLen
	if kind == typeReached {
		want = reachedLen
	}
	if len(b) < want { // longer: a newer version said more
		return nil, fmt.Errorf("%w: word about a relay of %d bytes", ErrFrame, len(b))
	}
	r := Reach{Node: message.ShortID(b[:8]), Hops: b[8]}
	if kind == typeReach {
		return r, nil
	}
	return Reached{Node: r.Node, Hops: r.Hops, RTT: time.Duration(binary.BigEndian.Uint32(b[9:])) * time.Microsecond}, nil
}
