package wire

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

func TestACallHasNoMoreThanItMayHave(t *testing.T) {
	many := Call{Delay: time.Hour}
	for i := range 100 {
		many.Offer.Candidates = append(many.Offer.Candidates, punch.Candidate{
			Transport: packet.UDP, Addr: netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i)),
		}, punch.Candidate{})
	}
	b := many.Append(nil)
	if len(b) > 400 {
		t.Errorf("a call of %d bytes does not fit every path", len(b))
	}
	got, err := ParseFrames(b)
	if err != nil {
		t.Fatal(err)
	}
	if c := got[0].(Call); len(c.Offer.Candidates) != punch.MaxCandidates || c.Delay != maxDelay {
		t.Errorf("%d candidates, %v", len(c.Offer.Candidates), c.Delay)
	}
	for at, bad := range map[int]byte{3 + 10: 9, 3 + 11: 9, 3 + 15: punch.MaxCandidates + 1, 3 + 8: 0xff} {
		c := Call{}.Append(nil)
		c[at] = bad
		if _, err := ParseFrames(c); err == nil {
			t.Errorf("byte %d may be %d", at, bad)
		}
	}
}

func TestProbesOfAllKindsOfAnswersHaveOneSize(t *testing.T) {
	a := Probed{Seen: netip.MustParseAddrPort("192.0.2.1:1")}.Append(nil)
	b := Probed{Seen: netip.MustParseAddrPort("[2001:db8::1]:1")}.Append(nil)
	if c := (Probed{}).Append(nil); len(a) != len(b) || len(b) != len(c) {
		t.Errorf("%d, %d and %d bytes", len(a), len(b), len(c))
	}
}

func TestOnlyControlGoesAside(t *testing.T) {
	for _, h := range []Header{{Control, 1, AsideCounter}, {Control, 1, AsideCounter + 7}} {
		if !h.Aside() {
			t.Errorf("%+v does not", h)
		}
	}
	for _, h := range []Header{{Data, 1, AsideCounter}, {Relay, 1, AsideCounter}, {Control, 1, AsideCounter - 1}} {
		if h.Aside() {
			t.Errorf("%+v does", h)
		}
	}
}
