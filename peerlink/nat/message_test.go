package nat

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

var testID = TransactionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// The bytes were put together by hand after RFC 8489, 5 and 14, and RFC 5780, 7.
var goldenMessages = map[string]struct {
	m   Message
	hex string
}{
	"question": {
		Message{Class: Request, ID: testID, Time: time.Unix(1_800_000_000, 0)},
		"0001000c2112a442" + "0102030405060708090a0b0c" + "c0e10008" + "000000006b49d200",
	},
	"question to be answered from elsewhere": {
		Message{Class: Request, ID: testID, Change: ChangeAddress | ChangePort},
		"000100082112a442" + "0102030405060708090a0b0c" + "00030004" + "00000006",
	},
	"answer": {
		Message{Class: Success, ID: testID, Mapped: at("192.0.2.1:32853"), Other: at("0.0.0.0:40000")},
		"010100182112a442" + "0102030405060708090a0b0c" + "002000080001a147e112a643" + "802c000800019c4000000000",
	},
	"answer, IPv6": {
		Message{Class: Success, ID: testID, Mapped: at("[2001:db8::1]:32853")},
		"010100182112a442" + "0102030405060708090a0b0c" + "002000140002a147" + "0113a9fa" + "010203040506070809" + "0a0b0d",
	},
	"passed on": {
		Message{Class: Indication, ID: testID, Asker: at("192.0.2.1:32853"), Time: time.Unix(1, 0)},
		"001100182112a442" + "0102030405060708090a0b0c" + "c0e200080001a147e112a643" + "c0e100080000000000000001",
	},
	"cannot": {
		Message{Class: Failure, ID: testID, Code: 420},
		"", // the reason's text is the library's
	},
}

func TestMessagesAreGolden(t *testing.T) {
	for name, c := range goldenMessages {
		b := c.m.Append(nil)
		if got := hex.EncodeToString(b); c.hex != "" && got != c.hex {
			t.Errorf("%s: %s, want %s", name, got, c.hex)
		}
		if got, err := ParseMessage(b); err != nil || got != c.m {
			t.Errorf("%s: became %+v, %v", name, got, err)
		}
		for n := range b {
			if m, err := ParseMessage(b[:n]); !errors.Is(err, ErrMessage) {
				t.Errorf("%s: %d of %d bytes became %+v, %v", name, n, len(b), m, err)
			}
		}
	}
}

func TestAnswersOfOldServersAreUnderstood(t *testing.T) {
	s := stun.New()
	s.TransactionID = testID
	s.SetType(stun.BindingSuccess)
	s.WriteHeader()
	if err := (&stun.MappedAddress{IP: []byte{192, 0, 2, 1}, Port: 5}).AddTo(s); err != nil {
		t.Fatal(err)
	}
	if err := (&stun.MappedAddress{IP: []byte{192, 0, 2, 9}, Port: 3479}).AddToAs(s, stun.AttrChangedAddress); err != nil {
		t.Fatal(err)
	}
	got, err := ParseMessage(s.Raw)
	if err != nil || got.Mapped != at("192.0.2.1:5") || got.Other != at("192.0.2.9:3479") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMessagesThatSayNothingAreRefused(t *testing.T) {
	for name, m := range map[string]Message{
		"an answer without an address": {Class: Success},
		"passed on without the asker":  {Class: Indication},
	} {
		if _, err := ParseMessage(m.Append(nil)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseMessage(make([]byte, 100)); !errors.Is(err, ErrMessage) {
		t.Errorf("zeroes: %v", err)
	}
	long := Message{Class: Request, ID: testID}.Append(nil)
	long = append(long, make([]byte, MaxMessage)...)
	if _, err := ParseMessage(long); !errors.Is(err, ErrMessage) {
		t.Errorf("too long: %v", err)
	}
	other := Message{Class: Request, ID: testID}.Append(nil)
	other[1] = 0x03 // Allocate, of TURN
	if _, err := ParseMessage(other); !errors.Is(err, ErrMessage) {
		t.Errorf("of TURN: %v", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, c := range goldenMessages {
		f.Add(c.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(bytes.Clone(b))
		if err != nil {
			return
		}
		for _, a := range []netip.AddrPort{m.Mapped, m.Other, m.Asker} {
			if a.IsValid() && (a.Port() == 0 || a.Addr().Is4In6()) {
				t.Fatalf("address %s", a)
			}
		}
		again, err := ParseMessage(m.Append(nil))
		if err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
