package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Frame types. A Control datagram carries frames one behind the other, each
//
//	| type 1 | length 2 | content |
//
// A type that is not known is skipped, so that newer nodes can say more.
const (
	typePing    = 1
	typePong    = 2
	typeClose   = 3
	typeRefused = 4
	typePadding = 5

	typeCall       = 6
	typeCallAnswer = 7
	typeProbe      = 8
	typeProbed     = 9

	typeReach   = 10
	typeReached = 11
)

// Frame is Ping, Padded, Pong, Close, Refused, Call, CallAnswer, Probe, Probed,
// Reach or Reached.
type Frame interface{ Append(dst []byte) []byte }

// Ping asks for a Pong. It tells what of the peer's datagrams arrived in this
// session, so that the peer learns its loss.
type Ping struct {
	ID       uint32
	Time     int64  // the sender's clock in nanoseconds, to be returned
	Received uint64 // datagrams accepted
	Highest  uint64 // highest counter accepted, plus one
}

// Pong answers a Ping: ID and Time of it, and the same report.
type Pong Ping

// Padded is a Ping and so much padding that both have Size bytes, or none if it
// is larger by itself. Padding is skipped by ParseFrames.
type Padded struct {
	Ping
	Size int
}

// Append encodes p behind dst.
func (p Padded) Append(dst []byte) []byte {
	dst = p.Ping.Append(dst)
	n := p.Size - (frameHead + pingLen) - frameHead
	if n < 0 {
		return dst
	}
	dst = append(dst, typePadding)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	return append(dst, make([]byte, n)...)
}

// Close says that the sender ends the link for good, and why, in words for people.
type Close struct{ Reason string }

// Refused says that the sender does not admit the peer, and why.
type Refused struct {
	Code   Code
	Time   int64 // the sender's clock, Unix nanoseconds
	Reason string
}

// Code tells refusals apart where the refused node acts on it.
type Code uint8

// The codes of refusals.
const (
	RefusedByRoster Code = iota + 1 // Reason says more: address taken, mesh full, revoked
	RefusedClock                    // the initiator's clock is off; Time lets it correct itself
	RefusedSelf                     // both ends have the same identity
	RefusedBusy                     // too many handshakes now
)

// MaxReason bounds the text of Close and Refused, in bytes.
const MaxReason = 512

// ErrFrame is wrapped by all errors of ParseFrames and ParseRefused.
var ErrFrame = errors.New("control frame is malformed")

const (
	frameHead = 1 + 2
	pingLen   = 4 + 8 + 8 + 8
)

func appendPing(dst []byte, kind byte, p Ping) []byte {
	dst = append(dst, kind, 0, pingLen)
	dst = binary.BigEndian.AppendUint32(dst, p.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Time))
	dst = binary.BigEndian.AppendUint64(dst, p.Received)
	return binary.BigEndian.AppendUint64(dst, p.Highest)
}

func parsePing(b []byte) (Ping, error) {
	if len(b) < pingLen { // longer: a newer version said more
		return Ping{}, fmt.Errorf("%w: ping of %d bytes", ErrFrame, len(b))
	}
	return Ping{
		ID:       binary.BigEndian.Uint32(b),
		Time:     int64(binary.BigEndian.Uint64(b[4:])),
		Received: binary.BigEndian.Uint64(b[12:]),
		Highest:  binary.BigEndian.Uint64(b[20:]),
	}, nil
}

// Append encodes p behind dst.
func (p Ping) Append(dst []byte) []byte { return appendPing(dst, typePing, p) }

// Append encodes p behind dst.
func (p Pong) Append(dst []byte) []byte { return appendPing(dst, typePong, Ping(p)) }

// Append encodes c behind dst.
func (c Close) Append(dst []byte) []byte {
	reason := clip(c.Reason)
	dst = append(dst, typeClose)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(reason)))
	return append(dst, reason...)
}

// Append encodes r behind dst.
func (r Refused) Append(dst []byte) []byte {
	body := r.Body()
	dst = append(dst, typeRefused)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(body)))
	return append(dst, body...)
}

// Body encodes r alone, as the body of a Refusal datagram.
func (r Refused) Body() []byte {
	b := append(make([]byte, 0, 9+len(r.Reason)), byte(r.Code))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time))
	return append(b, clip(r.Reason)...)
}

// ParseRefused decodes what Body made.
func ParseRefused(b []byte) (Refused, error) {
	if len(b) < 9 {
		return Refused{}, fmt.Errorf("%w: refusal of %d bytes", ErrFrame, len(b))
	}
	reason, err := parseReason(b[9:])
	return Refused{Code: Code(b[0]), Time: int64(binary.BigEndian.Uint64(b[1:])), Reason: reason}, err
}

// parseReason checks text that a user will read: a peer must not be able to
// write control characters into a terminal.
func parseReason(b []byte) (string, error) {
	if len(b) > MaxReason || !utf8.Valid(b) {
		return "", fmt.Errorf("%w: reason of %d bytes is too long or not UTF-8", ErrFrame, len(b))
	}
	for _, r := range string(b) {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return "", fmt.Errorf("%w: reason has control characters", ErrFrame)
		}
	}
	return string(b), nil
}

// clip shortens text to MaxReason bytes without cutting a character.
func clip(s string) string {
	if len(s) <= MaxReason {
		return s
	}
	n := MaxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// ParseFrames decodes the plaintext of a Control datagram: all of it, or an error.
func ParseFrames(b []byte) ([]Frame, error) {
	var frames []Frame
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, fmt.Errorf("%w: cut in its head", ErrFrame)
		}
		kind, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
		b = b[3:]
		if n > len(b) {
			return nil, fmt.Errorf("%w: says %d bytes, has %d", ErrFrame, n, len(b))
		}
		content := b[:n]
		b = b[n:]
		switch kind {
		case typePing, typePong:
			p, err := parsePing(content)
			if err != nil {
				return nil, err
			}
			if kind == typePing {
				frames = append(frames, p)
			} else {
				frames = append(frames, Pong(p))
			}
		case typeClose:
			reason, err := parseReason(content)
			if err != nil {
				return nil, err
			}
			frames = append(frames, Close{Reason: reason})
		case typeRefused:
			r, err := ParseRefused(content)
			if err != nil {
				return nil, err
			}
			frames = append(frames, r)
		case typeCall, typeCallAnswer, typeProbe, typeProbed:
			f, err := parsePunching(kind, content)
			if err != nil {
				return nil, err
			}
			frames = append(frames, f)
		case typeReach, typeReached:
			f, err := parseReaching(kind, content)
			if err != nil {
				return nil, err
			}
			frames = append(frames, f)
		}
	}
	return frames, nil
}
