package repair

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
)

func shims() map[string]Shim {
	return map[string]Shim{
		"00abcd":               {Stamp: 0xabcd},
		"01abcd":               {Partial: true, Stamp: 0xabcd},
		"06010203040506":       {Ordered: true, Fresh: true, Stamp: 0x0102, Slot: 0x0304, Seq: 0x0506},
		"0a010203040506070809": {Ordered: true, Grouped: true, Stamp: 0x0102, Slot: 0x0304, Seq: 0x0506, Back: 0x0708, Index: 9},
		"e20102030405060708":   {Ordered: true, Repeat: true, Again: true, Hasty: true, Stamp: 0x0102, Slot: 0x0304, Seq: 0x0506, Age: 0x0708},
		"180102070809":         {Grouped: true, Final: true, Stamp: 0x0102, Back: 0x0708, Index: 9},
	}
}

func TestShimsLookAsDrawn(t *testing.T) {
	for golden, s := range shims() {
		b := s.Append(nil)
		if got := hex.EncodeToString(b); got != golden {
			t.Errorf("%+v is %s, drawn as %s", s, got, golden)
		}
		if len(b) != s.Len() || len(b) > maxShim {
			t.Errorf("%+v has %d bytes, says %d", s, len(b), s.Len())
		}
		back, packet, err := ParseShim(append(b, "packet"...))
		if err != nil || back != s || string(packet) != "packet" {
			t.Errorf("%+v came back as %+v with %q, %v", s, back, packet, err)
		}
		for n := range b {
			if _, _, err := ParseShim(b[:n]); err == nil {
				t.Errorf("%+v cut to %d bytes was taken", s, n)
			}
		}
	}
}

func report() Report {
	r := Report{
		Index: 0x01020304, Newest: 0x05060708090a0b0c, Got: 0x11121314, Lost: 0x21222324, Bursts: 0x31323334,
		Crowded: 0x41424344, Stamp: 0x5152, Held: 0x6162, Queue: 0x7172, N: 2,
	}
	r.Missing[0], r.Missing[1] = Range{Back: 0x8182, More: 0x83}, Range{Back: 0x9192, More: 0x93}
	return r
}

func TestAReportLooksAsDrawn(t *testing.T) {
	const golden = "01020304" + "05060708090a0b0c" + "11121314" + "21222324" + "31323334" + "41424344" +
		"5152" + "6162" + "7172" + "02" + "818283" + "919293"
	r := report()
	b := r.Append(nil)
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("is      %s\ndrawn as %s", got, golden)
	}
	var back Report
	if err := back.Parse(append(b, "of a newer version"...)); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("came back as %+v, %v", back, err)
	}
	for n := range b {
		if err := new(Report).Parse(b[:n]); err == nil {
			t.Errorf("cut to %d bytes it was taken", n)
		}
	}
	b[reportHead-1] = maxRanges + 1
	if err := back.Parse(append(b, make([]byte, 1000)...)); err == nil {
		t.Error("more ranges than a report holds were taken")
	}
}

func TestParityAndShardsLookAsDrawn(t *testing.T) {
	p := parityRow{back: 0x0102, k: 3, row: 4, shard: []byte("row")}
	b := p.append(nil)
	if got := hex.EncodeToString(b); got != "01020304726f77" {
		t.Errorf("a row is %s", got)
	}
	if back, err := parseParity(b); err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("a row came back as %+v, %v", back, err)
	}
	for n := range parityHead {
		if _, err := parseParity(b[:n]); err == nil {
			t.Errorf("a row of %d bytes was taken", n)
		}
	}
	s := shard{shim: Shim{Partial: true, Ordered: true, Slot: 0x0102, Seq: 0x0304}, offset: 0x0506, packet: []byte("ip")}
	b = append(s.appendHead(nil), "ip"...)
	if got := hex.EncodeToString(b); got != "0002"+"03"+"0506"+"0102"+"0304"+"6970" {
		t.Errorf("a shard is %s", got)
	}
	if back, err := parseShard(append(b, 0, 0, 0)); err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("a shard came back as %+v, %v", back, err)
	}
	for n := range b {
		if _, err := parseShard(b[:n]); err == nil {
			t.Errorf("a shard of %d bytes was taken", n)
		}
	}
}

func FuzzParseShim(f *testing.F) {
	for _, s := range shims() {
		f.Add(append(s.Append(nil), "packet"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, packet, err := ParseShim(b)
		if err == nil && !bytes.Equal(append(s.Append(nil), packet...), b) {
			t.Errorf("%x is read as %+v, which is something else", b, s)
		}
	})
}

func FuzzReport(f *testing.F) {
	r := report()
	f.Add(r.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Report
		if err := r.Parse(b); err == nil && !bytes.HasPrefix(b, r.Append(nil)) {
			t.Errorf("%x is read as %+v, which is something else", b, r)
		}
	})
}

// FuzzReceiver feeds a receiver what an authenticated peer that is out of its mind
// could send.
func FuzzReceiver(f *testing.F) {
	for _, s := range shims() {
		f.Add(s.Append(nil), uint8(0), uint16(1))
	}
	row := parityRow{back: 1, k: 2, row: 0, shard: make([]byte, 30)}
	f.Add(row.append(nil), uint8(1), uint16(3))
	f.Add([]byte{0, 1, 0, 2}, uint8(2), uint16(9))
	r := NewReceiver(func(bool, []byte) {})
	now, counter := int64(1), uint64(0)
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, step uint16) {
		counter += uint64(step)
		now += int64(step) << 8
		fresh := r.Seen(now, 1, counter)
		switch kind % 3 {
		case 0:
			_ = r.Repairable(now, 1, counter, fresh, b)
		case 1:
			_ = r.Parity(now, 1, counter, b)
		case 2:
			r.Beat(now, b)
		}
		r.Due(now)
		var report Report
		for r.Report(now, &report) {
		}
		if r.held < 0 || r.held > maxHeld+1<<16 {
			t.Fatalf("%d bytes are held", r.held)
		}
		sum := 0
		for _, flow := range r.flows {
			sum += len(flow.slots)
		}
		if sum != r.places || sum > maxPlaces || r.Waiting() > DefaultWindow {
			t.Fatalf("%d places, counted as %d, %d packets wait", sum, r.places, r.Waiting())
		}
	})
}
