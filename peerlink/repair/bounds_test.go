package repair

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// bounded is a line whose ends keep what they keep within two budgets.
func bounded(t *testing.T, s *Sender, copies, waiting int64) (*line, *packet.Budget, *packet.Budget) {
	l := newLine(t, s, 21)
	c, w := packet.NewBudget(copies), packet.NewBudget(waiting)
	l.s.Bound(c)
	l.r.Bound(w)
	return l, c, w
}

func TestWhatRepairKeepsStaysWithinItsBudgets(t *testing.T) {
	const slack = 16 << 10 // a packet and its neighbours that are here already
	for name, s := range map[string]*Sender{"by repeats": NewSender(), "by parity": NewFixedSender(10, 3)} {
		t.Run(name, func(t *testing.T) {
			l, copies, waiting := bounded(t, s, 400<<10, 400<<10)
			l.loses = l.independent(0.05)
			check := func() {
				if c, w := copies.Held(), waiting.Held(); c > copies.Most() || w > waiting.Most()+slack {
					t.Fatalf("%d of %d bytes are kept to be sent again, %d of %d wait", c, copies.Most(), w, waiting.Most())
				}
			}
			for id := range uint32(6000) {
				l.packet(id, 3, Bulk, 1400)
				l.run(time.Duration(tick), check)
			}
			if l.r.Waiting() == 0 && waiting.Held() == 0 || name == "by repeats" && copies.Held() == 0 {
				t.Error("nothing was kept at all")
			}
			l.run(20*time.Second, func() {})
			if copies.Held() != 0 || waiting.Held() != 0 {
				t.Errorf("after all is done %d and %d bytes are still taken", copies.Held(), waiting.Held())
			}
			if len(l.got) < len(l.sent)*9/10 {
				t.Errorf("%d of %d packets came", len(l.got), len(l.sent))
			}
		})
	}
}

func TestWithoutAnyRoomPacketsGoOnUnmended(t *testing.T) {
	l, copies, waiting := bounded(t, NewSender(), 1<<10, 1<<10)
	lost := false
	l.loses = func() bool { lost = !lost && len(l.sent)%20 == 0; return lost }
	l.steady(2*time.Second, 1000, Bulk, 1400)
	l.run(20*time.Second, func() {})
	if l.repeats != 0 || len(l.got) < len(l.sent)*9/10 {
		t.Errorf("%d of %d packets came, and %d repeats of what nobody could keep", len(l.got), len(l.sent), l.repeats)
	}
	if copies.Held() != 0 || waiting.Held() != 0 {
		t.Errorf("%d and %d bytes are taken", copies.Held(), waiting.Held())
	}
}

func TestWhatIsForgottenIsGivenBack(t *testing.T) {
	l, copies, waiting := bounded(t, NewSender(), 4<<20, 4<<20)
	for id := range uint32(60) {
		lost := id == 50
		l.loses = func() bool { return lost }
		l.packet(id, 3, Bulk, 1400)
		l.run(time.Millisecond, func() {})
	}
	l.run(time.Duration(l.oneWay), func() {}) // the repeat of what is lost takes longer
	if copies.Held() == 0 || l.r.Waiting() == 0 {
		t.Fatalf("%d bytes are kept, %d packets wait", copies.Held(), l.r.Waiting())
	}
	l.s.Forget()
	l.r.Forget()
	if copies.Held() != 0 || waiting.Held() != 0 {
		t.Errorf("%d and %d bytes are taken for what is forgotten", copies.Held(), waiting.Held())
	}
}
