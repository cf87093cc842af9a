package packet

import (
	"bytes"
	"testing"
)

func TestTrainLaysOutEqualSlotsWithAShortTail(t *testing.T) {
	tr := NewTrain()
	tr.Reset(5)
	for i, n := range []int{100, 100, 40} {
		b := tr.Next(n)
		if len(b) != n {
			t.Fatalf("datagram %d: got %d bytes, want %d", i, len(b), n)
		}
		for j := range b {
			b[j] = byte(i + 1)
		}
	}
	if tr.Next(1) != nil {
		t.Fatal("a short slot must end the train")
	}
	if got := len(tr.Bytes()); got != 105+105+45 {
		t.Fatalf("train has %d bytes", got)
	}
	if tr.SlotSize() != 105 || tr.Len() != 3 {
		t.Fatalf("slot %d, len %d", tr.SlotSize(), tr.Len())
	}
	for i, n := range []int{100, 100, 40} {
		if !bytes.Equal(tr.Datagram(i), bytes.Repeat([]byte{byte(i + 1)}, n)) {
			t.Fatalf("datagram %d is not what was written", i)
		}
	}
	if len(tr.Frame(54)) != 54+len(tr.Bytes()) {
		t.Fatal("frame must put the headers directly in front of the slots")
	}
}

func TestTrainRefusesALargerDatagramAndTakesBackTheLast(t *testing.T) {
	tr := NewTrain()
	tr.Reset(0)
	tr.Next(10)
	if tr.Next(11) != nil {
		t.Fatal("a larger datagram must start a new train")
	}
	tr.Next(4)
	tr.Drop()
	if b := tr.Next(10); b == nil || tr.Len() != 2 {
		t.Fatal("after Drop the slot is free again")
	}
	tr.Drop()
	tr.Drop()
	if b := tr.Next(50); b == nil || tr.SlotSize() != 50 {
		t.Fatal("an emptied train takes any size")
	}
}

func TestTrainNeverExceedsItsBounds(t *testing.T) {
	tr := NewTrain()
	tr.Reset(5)
	for tr.Next(1400) != nil {
	}
	if len(tr.Bytes()) > MaxTrain || tr.Len() > MaxSlots {
		t.Fatalf("%d bytes in %d slots", len(tr.Bytes()), tr.Len())
	}
	tr.Reset(0)
	for tr.Next(1) != nil {
	}
	if tr.Len() != MaxSlots {
		t.Fatalf("%d slots, want %d", tr.Len(), MaxSlots)
	}
}

func TestTrainEnclosesAnOuterLayer(t *testing.T) {
	tr := NewTrain()
	tr.Reset(5 + 46)
	for range 2 {
		tr.Next(100)
	}
	if tr.Prefix() != 51 {
		t.Fatalf("prefix %d, want 51", tr.Prefix())
	}
	tr.Enclose(46)
	if tr.Prefix() != 5 || len(tr.Datagram(1)) != 146 || len(tr.Slot(1)) != 151 {
		t.Fatalf("prefix %d, datagram %d, slot %d", tr.Prefix(), len(tr.Datagram(1)), len(tr.Slot(1)))
	}
}
