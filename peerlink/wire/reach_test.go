package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

var aboutRelays = []Frame{
	Reach{Node: message.ShortID{1, 2, 3, 4, 5, 6, 7, 8}, Hops: 3},
	Reached{Node: message.ShortID{8, 7, 6, 5, 4, 3, 2, 1}, Hops: 2, RTT: 51234 * time.Microsecond},
	Reached{Node: message.ShortID{8}},
}

func TestWordsAboutRelaysAreWhatTheyWere(t *testing.T) {
	var b []byte
	for _, f := range aboutRelays {
		b = f.Append(b)
	}
	const golden = "0a0009" + "0102030405060708" + "03" +
		"0b000d" + "0807060504030201" + "02" + "0000c822" +
		"0b000d" + "0800000000000000" + "00" + "00000000"
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
	frames, err := ParseFrames(b)
	if err != nil || !reflect.DeepEqual(frames, aboutRelays) {
		t.Errorf("read back as %+v, %v", frames, err)
	}
	for n := range b {
		frames, err := ParseFrames(b[:n])
		whole := n == 0 || n == 12 || n == 12+16
		if (err == nil) != whole {
			t.Errorf("cut to %d bytes: %+v, %v", n, frames, err)
		}
	}
	// A length that is too small for the content.
	short := aboutRelays[0].Append(nil)[:3+4]
	short[2] = 4
	if _, err := ParseFrames(short); err == nil {
		t.Error("a short one was taken")
	}
	// A newer version may say more.
	long := append(Reach{Hops: 1}.Append(nil), 9)
	long[2]++
	if got, err := ParseFrames(long); err != nil || len(got) != 1 || got[0] != (Reach{Hops: 1}) {
		t.Errorf("a longer one: %+v, %v", got, err)
	}
}

func TestARoundTripThatIsTooLongIsToldAsTheLongest(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{
		-time.Second: 0, 2 * time.Hour: MaxReachedRTT, 1500 * time.Nanosecond: time.Microsecond,
	} {
		got, err := ParseFrames(Reached{RTT: rtt}.Append(nil))
		if err != nil || got[0].(Reached).RTT != want {
			t.Errorf("%v became %+v, %v", rtt, got, err)
		}
	}
}

func FuzzReaching(f *testing.F) {
	for _, frame := range aboutRelays {
		f.Add(frame.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := ParseFrames(b)
		if err != nil {
			return
		}
		for _, frame := range frames {
			switch frame.(type) {
			case Reach, Reached:
				again, err := ParseFrames(frame.Append(nil))
				if err != nil || len(again) != 1 || again[0] != frame {
					t.Errorf("%+v became %+v, %v", frame, again, err)
				}
				if !bytes.Equal(again[0].Append(nil), frame.Append(nil)) {
					t.Error("it is written in two ways")
				}
			}
		}
	})
}
