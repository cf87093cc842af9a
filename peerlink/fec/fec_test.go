package fec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/reedsolomon"
)

// code is what an encoder made of some packets.
type code struct {
	packets, rows [][]byte
}

func encode(random *rand.Rand, k, m int) code {
	var c code
	var e Encoder
	e.Begin(m)
	for range k {
		p := make([]byte, 1+random.IntN(1400))
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		c.packets = append(c.packets, p)
		cut := random.IntN(len(p))
		e.Add(p[:cut], p[cut:])
	}
	for j := range m {
		c.rows = append(c.rows, bytes.Clone(e.Row(j)))
	}
	return c
}

// oracle rebuilds packets with another implementation, given the same matrix.
func oracle(t *testing.T, c code) reedsolomon.Encoder {
	t.Helper()
	matrix := make([][]byte, len(c.rows))
	for j := range matrix {
		for i := range c.packets {
			matrix[j] = append(matrix[j], coefficient(j, i))
		}
	}
	rs, err := reedsolomon.New(len(c.packets), len(c.rows), reedsolomon.WithCustomMatrix(matrix))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func (c code) padded() [][]byte {
	var shards [][]byte
	for _, p := range c.packets {
		shards = append(shards, append(bytes.Clone(p), make([]byte, len(c.rows[0])-len(p))...))
	}
	for _, r := range c.rows {
		shards = append(shards, bytes.Clone(r))
	}
	return shards
}

// decode feeds the shards that are not lost in the given order, each twice, and
// returns what was rebuilt.
func (c code) decode(order []int, lost map[int]bool) map[int][]byte {
	got := map[int][]byte{}
	d := NewDecoder(4, 1<<20, func(_ uint64, index int, shard []byte) { got[index] = bytes.Clone(shard) })
	for _, i := range order {
		if lost[i] {
			continue
		}
		for range 2 {
			if i < len(c.packets) {
				d.Data(0, 7, i, c.packets[i][:1], c.packets[i][1:])
			} else {
				d.Parity(0, 7, len(c.packets), i-len(c.packets), c.rows[i-len(c.packets)])
			}
		}
	}
	return got
}

func TestParityIsThatOfTheReferenceImplementation(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, km := range [][2]int{{1, 1}, {5, 1}, {10, 3}, {20, 2}, {40, 12}, {MaxData, MaxParity}} {
		c := encode(random, km[0], km[1])
		want := c.padded()
		for _, row := range want[km[0]:] {
			clear(row)
		}
		if err := oracle(t, c).Encode(want); err != nil {
			t.Fatal(err)
		}
		for j, row := range c.rows {
			if !bytes.Equal(row, want[km[0]+j]) {
				t.Errorf("%d+%d: row %d differs", km[0], km[1], j)
			}
		}
	}
}

func TestEveryCodeRecoversAsManyLossesAsItHasParityAndNoMore(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, km := range [][2]int{{20, 2}, {10, 3}, {10, 5}, {5, 1}, {1, 1}, {3, 2}, {18, 3}, {MaxData, MaxParity}} {
		k, m := km[0], km[1]
		t.Run(fmt.Sprintf("%d+%d", k, m), func(t *testing.T) {
			for range 60 {
				c := encode(random, k, m)
				lost := map[int]bool{}
				for _, i := range random.Perm(k + m)[:random.IntN(m+2)] {
					lost[i] = true
				}
				got := c.decode(random.Perm(k+m), lost)
				for i := range k {
					switch shard, ok := got[i]; {
					case !lost[i] && ok && !bytes.HasPrefix(shard, c.packets[i]):
						t.Fatalf("packet %d, which came late, was rebuilt wrongly", i)
					case lost[i] && ok != (len(lost) <= m):
						t.Fatalf("%d of %d+%d lost: packet %d rebuilt: %v", len(lost), k, m, i, ok)
					case ok && !bytes.Equal(shard[:len(c.packets[i])], c.packets[i]):
						t.Fatalf("packet %d is not what it was", i)
					case ok && len(bytes.Trim(shard[len(c.packets[i]):], "\x00")) != 0:
						t.Fatalf("packet %d: more than zeros behind it", i)
					}
				}
			}
		})
	}
}

func TestEveryPatternOfLossesThatTheReferenceRebuildsIsRebuilt(t *testing.T) {
	c := encode(rand.New(rand.NewPCG(5, 6)), 5, 3)
	rs := oracle(t, c)
	order := []int{0, 1, 2, 3, 4, 5, 6, 7}
	for pattern := range 1 << 8 {
		lost := map[int]bool{}
		shards := c.padded()
		for i := range shards {
			if pattern>>i&1 == 1 {
				lost[i], shards[i] = true, nil
			}
		}
		err := rs.ReconstructData(shards)
		got := c.decode(order, lost)
		for i := range c.packets {
			if lost[i] && (err == nil) != (got[i] != nil) {
				t.Fatalf("pattern %08b: reference says %v, packet %d rebuilt: %v", pattern, err, i, got[i] != nil)
			}
			if lost[i] && err == nil && !bytes.Equal(got[i], shards[i]) {
				t.Fatalf("pattern %08b: packet %d differs from the reference", pattern, i)
			}
		}
	}
}

func TestAShortGroupNeedsNoMoreThanItsOwnPackets(t *testing.T) {
	c := encode(rand.New(rand.NewPCG(7, 8)), 1, 1)
	got := c.decode([]int{1}, nil)
	if !bytes.Equal(got[0], c.packets[0]) {
		t.Fatal("a lone packet did not come back from its parity")
	}
}

func TestOpenGroupsAreBoundedInNumberAndBytesAndExpire(t *testing.T) {
	d := NewDecoder(8, 20_000, func(uint64, int, []byte) { t.Error("something was rebuilt of nothing") })
	packet := make([]byte, 1400)
	for key := range uint64(1000) {
		d.Data(int64(key), key, 0, packet[:4], packet[4:])
		d.Parity(int64(key), key, 4, 0, packet)
		if d.Groups() > 8 || d.Bytes() > 20_000+2*len(packet) {
			t.Fatalf("%d groups with %d bytes are held", d.Groups(), d.Bytes())
		}
	}
	d.Expire(1000)
	if d.Groups() != 0 || d.Bytes() != 0 {
		t.Errorf("%d groups with %d bytes are left after all expired", d.Groups(), d.Bytes())
	}
}

func TestAGroupThatFillsSlowlyOutlastsManyThatFillFast(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 2))
	slow, fast := encode(random, 8, 2), encode(random, 4, 1)
	rebuilt := map[int]bool{}
	d := NewDecoder(8, 1<<20, func(key uint64, index int, _ []byte) { rebuilt[index] = key == 0 })
	key := uint64(0)
	for i := 2; i < 8; i++ {
		d.Data(0, 0, i, nil, slow.packets[i])
		for range 20 {
			key++
			for j := range 4 {
				d.Data(0, key, j, nil, fast.packets[j])
			}
			d.Parity(0, key, 4, 0, fast.rows[0])
		}
	}
	d.Parity(0, 0, 8, 0, slow.rows[0])
	d.Parity(0, 0, 8, 1, slow.rows[1])
	if len(rebuilt) != 2 || !rebuilt[0] || !rebuilt[1] || d.Groups() > 8 {
		t.Errorf("rebuilt %v while %d groups of others came and went, %d are kept", rebuilt, key, d.Groups())
	}
}

func TestStragglersOfACompleteGroupBeginNothing(t *testing.T) {
	c := encode(rand.New(rand.NewPCG(9, 1)), 4, 2)
	rebuilt := 0
	d := NewDecoder(4, 1<<20, func(uint64, int, []byte) { rebuilt++ })
	for i := range 3 {
		d.Data(0, 1, i, nil, c.packets[i])
	}
	d.Parity(0, 1, 4, 0, c.rows[0])
	d.Parity(0, 1, 4, 1, c.rows[1])
	d.Data(0, 1, 3, nil, c.packets[3])
	if rebuilt != 1 || d.Bytes() != 0 {
		t.Errorf("%d packets rebuilt, %d bytes held", rebuilt, d.Bytes())
	}
}

func TestNonsenseFromAPeerRebuildsNothing(t *testing.T) {
	d := NewDecoder(4, 1<<20, func(uint64, int, []byte) { t.Error("something was rebuilt of nonsense") })
	long, short := make([]byte, 100), make([]byte, 10)
	d.Data(0, 1, -1, nil, long)
	d.Data(0, 1, MaxData, nil, long)
	d.Parity(0, 1, 0, 0, long)
	d.Parity(0, 1, MaxData+1, 0, long)
	d.Parity(0, 1, 2, MaxParity, long)
	d.Data(0, 2, 0, nil, long) // longer than the parity over it
	d.Parity(0, 2, 2, 0, short)
	d.Data(0, 3, 5, nil, long) // a packet that the group does not have
	d.Parity(0, 3, 2, 0, long)
	d.Parity(0, 3, 2, 1, long)
	d.Parity(0, 4, 3, 0, long) // rows of unequal length
	d.Parity(0, 4, 3, 1, short)
	d.Data(0, 4, 0, nil, short)
}

func TestEncodingAllocatesNothingOnceItHasItsMemory(t *testing.T) {
	var e Encoder
	head, body := make([]byte, 9), make([]byte, 1400)
	if n := testing.AllocsPerRun(100, func() {
		e.Begin(3)
		for range 10 {
			e.Add(head, body)
		}
		_ = e.Row(2)
	}); n != 0 {
		t.Errorf("%v allocations per group", n)
	}
}

func BenchmarkEncode10And3(b *testing.B) {
	var e Encoder
	body := make([]byte, 1400)
	b.SetBytes(14000)
	for b.Loop() {
		e.Begin(3)
		for range 10 {
			e.Add(nil, body)
		}
	}
}

func BenchmarkDecode10And3(b *testing.B) {
	c := encode(rand.New(rand.NewPCG(1, 1)), 10, 3)
	d := NewDecoder(4, 1<<20, func(uint64, int, []byte) {})
	key := uint64(0)
	b.SetBytes(14000)
	for b.Loop() {
		key++
		for i := 3; i < 10; i++ {
			d.Data(0, key, i, nil, c.packets[i])
		}
		for j := range 3 {
			d.Parity(0, key, 10, j, c.rows[j])
		}
	}
}
