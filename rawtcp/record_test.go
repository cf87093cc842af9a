package rawtcp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// stream of n records of size bytes each, prefix included; record i is filled with i.
func records(n, size int) []byte {
	var b []byte
	for i := range n {
		slot := bytes.Repeat([]byte{byte(i + 1)}, size)
		putRecord(slot)
		b = append(b, slot...)
	}
	return b
}

func numbers(a packet.Arrivals) []byte {
	var b []byte
	for _, x := range a {
		b = append(b, x.Data[0])
	}
	return b
}

func TestRecordPrefixIsThatOfTLS(t *testing.T) {
	slot := make([]byte, 5+0x123)
	putRecord(slot)
	if !bytes.Equal(slot[:5], unhex(t, "1703030123")) {
		t.Fatalf("%x", slot[:5])
	}
}

func TestWholeRecordsAreHandedOutInPlace(t *testing.T) {
	var c cutter
	b := records(3, 100)
	got, junk := c.cut(nil, nil, &arena{}, 1, b, 100)
	if junk != 0 || !bytes.Equal(numbers(got), []byte{1, 2, 3}) || &got[0].Data[0] != &b[5] || cap(got[0].Data) != 95 {
		t.Fatalf("%d records, %d junk", len(got), junk)
	}
}

func TestRecordsSurviveEveryWayOfCuttingTheStreamAnew(t *testing.T) {
	b := records(5, 40)
	for size := 1; size <= len(b); size++ {
		var c cutter
		var spare arena
		var got packet.Arrivals
		junk := 0
		for off := 0; off < len(b); off += size {
			var j int
			piece := bytes.Clone(b[off:min(off+size, len(b))])
			got, j = c.cut(got, nil, &spare, uint32(off)-7, piece, 0)
			junk += j
		}
		if !bytes.Equal(numbers(got), []byte{1, 2, 3, 4, 5}) || junk != 0 {
			t.Fatalf("pieces of %d: records %v, %d bytes of junk", size, numbers(got), junk)
		}
		for _, a := range got {
			if len(a.Data) != 35 || !bytes.Equal(a.Data, bytes.Repeat(a.Data[:1], 35)) {
				t.Fatalf("pieces of %d: a record is damaged", size)
			}
		}
	}
}

func TestALostPieceCostsOnlyTheRecordsItTouches(t *testing.T) {
	// Records of 40 sent anew in segments of 30; the second segment is lost.
	b := records(6, 40)
	var c cutter
	var spare arena
	var got packet.Arrivals
	for off := 0; off < len(b); off += 30 {
		if off == 30 {
			continue
		}
		got, _ = c.cut(got, nil, &spare, uint32(off), b[off:off+30], 0)
	}
	if n := numbers(got); !bytes.HasSuffix(n, []byte{4, 5, 6}) || n[0] == 2 {
		t.Fatalf("records %v", n)
	}
}

func TestJunkInFrontIsSkippedToTheNextSegment(t *testing.T) {
	junk := bytes.Repeat([]byte{0x17, 3, 3, 0xff, 0xff}, 20)
	b := append(junk, records(3, 100)...)
	var c cutter
	got, n := c.cut(nil, nil, &arena{}, 1, b, 100)
	if !bytes.Equal(numbers(got), []byte{1, 2, 3}) || n != 100 {
		t.Fatalf("records %v, junk %d", numbers(got), n)
	}
}

func TestALaterPartReplacesAnAbandonedOne(t *testing.T) {
	var c cutter
	var spare arena
	b := records(2, 100)
	c.cut(nil, nil, &spare, 0, b[:60], 0)
	got, _ := c.cut(nil, nil, &spare, 100, b[100:160], 0)
	if len(got) != 0 {
		t.Fatal("nothing is whole yet")
	}
	got, _ = c.cut(nil, nil, &spare, 160, b[160:], 0)
	if !bytes.Equal(numbers(got), []byte{2}) {
		t.Fatalf("records %v", numbers(got))
	}
}

func TestCuttingWholeRecordsDoesNotAllocate(t *testing.T) {
	b := records(40, 1400)
	var c cutter
	var spare arena
	out := make(packet.Arrivals, 0, 64)
	path := &Flow{}
	if n := testing.AllocsPerRun(100, func() { c.cut(out[:0], path, &spare, 1, b, 1400) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzCutter(f *testing.F) {
	f.Add(records(3, 40), uint16(40), uint64(1))
	f.Add(records(9, 300), uint16(0), uint64(2))
	f.Add(bytes.Repeat([]byte{0x17, 3, 3}, 30), uint16(7), uint64(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint16, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		var c cutter
		var spare arena
		var got packet.Arrivals
		total := 0
		for off := 0; off < len(b); {
			n := min(1+r.IntN(400), len(b)-off)
			got, _ = c.cut(got, nil, &spare, uint32(off), b[off:off+n], int(size))
			off += n
			if len(c.part) > maxRecord+recordPrefix {
				t.Fatalf("keeps %d bytes", len(c.part))
			}
		}
		for _, a := range got {
			total += len(a.Data)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of records from %d", total, len(b))
		}
	})
}
