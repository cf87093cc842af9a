package wire

import (
	"bytes"
	"reflect"
	"testing"
)

func TestAPaddedPingHasItsSizeAndIsReadAsThePing(t *testing.T) {
	ping := Ping{ID: 7, Time: 8, Received: 9, Highest: 10}
	for size := range 200 {
		b := Padded{ping, size}.Append([]byte("before"))
		b = b[len("before"):]
		if want := max(size, frameHead+pingLen); len(b) != want && (size >= 2*frameHead+pingLen || len(b) != frameHead+pingLen) {
			t.Fatalf("size %d: %d bytes, want %d", size, len(b), want)
		}
		frames, err := ParseFrames(b)
		if err != nil || len(frames) != 1 || !reflect.DeepEqual(frames[0], ping) {
			t.Fatalf("size %d: %v, %v", size, frames, err)
		}
	}
	b := Padded{ping, 40}.Append(nil)
	want := append(ping.Append(nil), typePadding, 0, 6, 0, 0, 0, 0, 0, 0)
	if !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
	for n := range b {
		if _, err := ParseFrames(b[:n]); err == nil && n != 0 && n != frameHead+pingLen {
			t.Errorf("cut at %d: no error", n)
		}
	}
}
