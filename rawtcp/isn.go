package rawtcp

// secrets are the keys behind every number that an outsider must not guess.
// They live as long as the Transport.
type secrets struct {
	isn, stamp, label, cookie0, cookie1 hashKey
}

func newSecrets() *secrets {
	return &secrets{newHashKey(), newHashKey(), newHashKey(), newHashKey(), newHashKey()}
}

// initialSequence is that of RFC 6528, section 3: M + F(tuple, secret), where M
// is the wall clock in units of 4 microseconds.
func (s *secrets) initialSequence(t *tuple, clock4us uint32) uint32 {
	b := t.bytes(0)
	return clock4us + uint32(s.isn.sum(b[:]))
}

// stampOffset is what a connection adds to the millisecond clock to make its
// timestamps (RFC 7323, 5.4). As in Linux it depends on the two addresses
// alone, so that timestamps go up from one connection of a pair to the next.
func (s *secrets) stampOffset(t *tuple) uint32 {
	b := t.bytes(0)
	return uint32(s.stamp.sum(b[:32]))
}

// flowLabel is the IPv6 flow label of a connection (RFC 6437), never 0.
func (s *secrets) flowLabel(t *tuple) uint32 {
	b := t.bytes(0)
	if l := uint32(s.label.sum(b[:])) & 0xfffff; l != 0 {
		return l
	}
	return 1
}
