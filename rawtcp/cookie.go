package rawtcp

import "time"

// A cookie is the initial sequence number of every SYN-ACK that we send. It
// binds the connection's addresses, the peer's initial sequence number, a clock
// of 64 s and the class of the peer's MSS (Bernstein's SYN cookies in the shape
// that Linux gave them), so the ACK that completes a handshake proves itself:
// a connection costs no memory before its peer has shown that it gets our
// packets.
//
//	cookie = H0(tuple, peer's ISN) + slot<<24 + (H1(tuple, slot) + class) mod 2^24

// cookieSlot is the resolution of the cookies' clock, cookieSlots their life.
const (
	cookieSlot  = 64 * time.Second
	cookieSlots = 2
)

// mssClasses are the sizes that a cookie can remember; the next smaller one is
// taken. Each doubling of the table doubles the odds of a blind guess (16 of 2^24).
var mssClasses = [16]uint16{
	216, 536, 1024, 1180, 1220, 1280, 1300, 1340, 1360, 1380, 1400, 1420, 1432, 1440, 1452, 1460,
}

func mssClass(mss uint16) uint32 {
	c := len(mssClasses) - 1
	for c > 0 && mssClasses[c] > mss {
		c--
	}
	return uint32(c)
}

func cookieClock(now time.Duration) uint32 { return uint32(now / cookieSlot) }

func (s *secrets) makeCookie(t *tuple, peerISN, slot, class uint32) uint32 {
	b0, b1 := t.bytes(peerISN), t.bytes(slot)
	return uint32(s.cookie0.sum(b0[:])) + slot<<24 +
		(uint32(s.cookie1.sum(b1[:]))+class)&0xffffff
}

// checkCookie returns the MSS that a cookie made in the last one or two slots
// carries.
func (s *secrets) checkCookie(t *tuple, peerISN, cookie, slot uint32) (mss uint16, ok bool) {
	b0 := t.bytes(peerISN)
	c := cookie - uint32(s.cookie0.sum(b0[:]))
	age := (slot - c>>24) & 0xff
	if age >= cookieSlots {
		return 0, false
	}
	b1 := t.bytes(slot - age)
	class := (c - uint32(s.cookie1.sum(b1[:]))) & 0xffffff
	if class >= uint32(len(mssClasses)) {
		return 0, false
	}
	return mssClasses[class], true
}

// The low bits of a SYN-ACK's timestamp carry what the cookie has no room for,
// as in Linux: window scale in four bits (15: none) and SACK-permitted.
const (
	stampBits    = 6
	stampNoScale = 15
)

// stampWithOptions returns the newest timestamp not after clock whose low bits
// say wscale and sack.
func stampWithOptions(clock uint32, o *options) uint32 {
	bits := uint32(stampNoScale)
	if o.wscale >= 0 {
		bits = uint32(o.wscale)
	}
	if o.sack {
		bits |= 1 << 4
	}
	ts := clock>>stampBits<<stampBits | bits
	if int32(ts-clock) > 0 {
		ts -= 1 << stampBits
	}
	return ts
}

// scaleInStamp is the window scale hidden in an echoed timestamp, -1 for none.
func scaleInStamp(ts uint32) int8 {
	if s := int8(ts & 15); s != stampNoScale {
		return s
	}
	return -1
}
