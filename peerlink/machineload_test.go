package peerlink

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// narrow is a queue in front of a line. The zero value is none.
type narrow struct {
	rate  float64 // bytes per second
	queue float64 // bytes that wait at most
	full  float64 // of it
	at    time.Time
	loses float64 // share of what was sent last
}

func (n *narrow) drain(now time.Time) {
	n.full = max(n.full-n.rate*now.Sub(n.at).Seconds(), 0)
	n.at = now
	if n.full == 0 {
		n.loses = 0
	}
}

func (n *narrow) wait(now time.Time) time.Duration {
	if n.rate == 0 {
		return 0
	}
	n.drain(now)
	return time.Duration(n.full / n.rate * float64(time.Second))
}

// pass returns how many of so many datagrams of bulkSize arrive.
func (n *narrow) pass(now time.Time, datagrams int) (arrive int) {
	if n.rate == 0 {
		return datagrams
	}
	n.drain(now)
	for range datagrams {
		if n.full+bulkSize <= n.queue {
			n.full += bulkSize
			arrive++
		}
	}
	n.loses += (1 - float64(arrive)/float64(max(datagrams, 1)) - n.loses) / 16
	return arrive
}

const bulkSize = 1000

// carry sends the large datagrams of a step on the path in use.
func (w *world) carry(l *line) {
	if w.bulk == nil || !w.m.usable || l == nil {
		return
	}
	s, n := w.m.current, w.bulk()
	s.sealer.counter.Add(uint64(n))
	w.o.sent += uint64(n)
	w.o.carried.txPackets += uint64(n)
	w.o.carried.txBytes += uint64(n * bulkSize)
	if !l.silent && !l.dead {
		w.came += uint64(l.narrow.pass(w.now, n))
	}
}

// flow offers so many bytes per second, in steps.
func (w *world) flow(rate float64) {
	due := 0.0
	w.bulk = func() int {
		due += rate * w.step.Seconds()
		n := int(due / bulkSize)
		due -= float64(n * bulkSize)
		return n
	}
}

// uses runs for a while and returns for how long p was in use.
func (w *world) uses(p packet.Path, d time.Duration) (used time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(100 * time.Millisecond)
		if w.m.path == p {
			used += 100 * time.Millisecond
		}
	}
	return used
}

func throttle(l *line) *line {
	l.narrow = narrow{rate: 125_000, queue: 50_000}
	return l
}

// nearAndFar is a link that carries little through the nearer of two relays, which is
// the narrow one.
func nearAndFar(t *testing.T) (w *world, near, far *line) {
	t.Helper()
	w, _, _ = onRelay(t, false)
	near, far = throttle(relayLine(40*time.Millisecond)), relayLine(100*time.Millisecond)
	w.o.relays = []relayWay{near.offered(), far.offered()}
	w.traffic = downOnly
	w.flow(40_000)
	w.run(30 * time.Second)
	if w.m.path != near {
		t.Fatal("the nearer one is not used for little traffic")
	}
	return w, near, far
}

func TestADirectPathThatIsThrottledIsLeftForAnother(t *testing.T) {
	for _, follower := range []bool{false, true} {
		w, _, _ := onRelay(t, follower)
		w.traffic = downOnly
		// A probe alone would rather have UDP.
		udp, tcp := throttle(udpLine(40*time.Millisecond)), tcpLine(100*time.Millisecond)
		w.open(udp)
		w.open(tcp)
		w.run(30 * time.Second)
		w.flow(40_000)
		w.run(30 * time.Second)
		if w.m.path != udp || w.m.load(udp).Goodput(w.now) != 0 {
			t.Fatalf("it carries a third of what it could, and passes for narrow: %v", w.m.load(udp).Goodput(w.now))
		}
		w.flow(135_000)
		const d = 4 * time.Minute
		slow := w.uses(udp, d)
		if follower {
			if slow != d || w.m.load(udp).Goodput(w.now) != 0 {
				t.Error("both sides measure and choose")
			}
			continue
		}
		if slow > 15*time.Second {
			t.Errorf("it was used for %v of %v", slow, d)
		}
		if got := w.m.load(udp).Goodput(w.now); got < 110_000 || got > 140_000 {
			t.Errorf("goodput %.0f, want 125000", got)
		}
		if w.m.load(tcp).Goodput(w.now) != 0 {
			t.Error("the other path passes for narrow")
		}
		// It is tried again, seldom and for a moment.
		w.step = 20 * time.Millisecond
		const long = time.Hour
		before := len(w.moves)
		if slow := w.uses(udp, long); slow > 2*time.Minute || len(w.moves)-before > 16 {
			t.Errorf("it was used for %v of %v, in %d changes", slow, long, len(w.moves)-before)
		}
	}
}

func TestTheWiderOfTwoRelaysIsUsed(t *testing.T) {
	w, near, far := nearAndFar(t)
	w.flow(135_000)
	before := len(w.moves)
	if slow := w.uses(near, 5*time.Minute); w.m.path != far || slow > 15*time.Second || len(w.moves) != before+1 {
		t.Errorf("the narrow one was used for %v, %d changes", slow, len(w.moves)-before)
	}
}

func TestADirectPathThatIsThrottledIsNotLeftForARelay(t *testing.T) {
	w, _, _ := onRelay(t, false)
	w.traffic = downOnly
	udp := throttle(udpLine(40 * time.Millisecond))
	w.open(udp)
	w.flow(140_000)
	if slow := w.uses(udp, 5*time.Minute); slow != 5*time.Minute {
		t.Errorf("it was used for %v", slow)
	}
	if w.m.load(udp).Goodput(w.now) == 0 {
		t.Error("its goodput is not known")
	}
}

func TestTwoPathsThroughOneBottleneckDoNotAlternate(t *testing.T) {
	w, _, _ := onRelay(t, false)
	w.traffic = downOnly
	udp, tcp := throttle(udpLine(40*time.Millisecond)), throttle(tcpLine(41*time.Millisecond))
	w.open(udp)
	w.open(tcp)
	w.flow(140_000)
	w.step = 20 * time.Millisecond
	before := len(w.moves)
	w.run(time.Hour)
	if n := len(w.moves) - before; n > 7 {
		t.Errorf("%d changes in an hour", n)
	}
}

// A queue may be so long that its path passes for dead before its load is known.
func TestAPathThatFallsSilentBehindAQueueIsRememberedAsNarrow(t *testing.T) {
	w, near, far := nearAndFar(t)
	w.flow(140_000)
	for waits := false; !waits; _, waits = w.m.loading.gauge.Waits() {
		if w.run(100 * time.Millisecond); w.m.path != near {
			t.Fatal("it was left before a queue was seen")
		}
	}
	if w.m.load(near).Goodput(w.now) != 0 {
		t.Fatal("a single look passes for proof")
	}
	near.silent = true
	w.run(3 * time.Second)
	if got := w.m.load(near).Goodput(w.now); w.m.path != far || got < 80_000 || got > 140_000 {
		t.Errorf("on the other relay: %v, goodput %.0f, want about 125000", w.m.path == far, got)
	}
}

func TestOnlyAPathThatCarriesMuchIsAskedForItsLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		rate float64
		min  int
		max  int
	}{
		{"idle", 0, 0, 0},
		{"a word now and then", 5_000, 0, 0},
		{"much", 1_000_000, 50, 60},
	} {
		w, relay, _ := onRelay(t, false)
		w.flow(c.rate)
		w.run(time.Minute)
		if w.m.path != relay {
			t.Fatal("not on the relay")
		}
		if asked := w.asides[relay]; asked < c.min || asked > c.max {
			t.Errorf("%s: %d questions in a minute", c.name, asked)
		}
	}
}
