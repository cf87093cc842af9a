package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestTrafficIsBackAfterABlackhole(t *testing.T) {
	for name, ways := range map[string][]impair.Direction{"both": impair.Both, "there": {impair.There}, "back": {impair.Back}} {
		t.Run(name, func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, "")
			s := b.stream(50, 200)
			b.passes(s, 10)
			must(t, b.Line.Turn(ways, "blackhole=on"))
			b.lasts(4 * time.Second)
			b.Line.Heal(ways)
			healed := time.Now()
			back := b.passes(s, 25)
			t.Logf("25 datagrams more within %s", back.Sub(healed).Round(10*time.Millisecond))
			r := s.Stop(time.Second)
			if r.Duplicates() > 0 {
				t.Errorf("%d datagrams arrived twice", r.Duplicates())
			}
			b.reaches(b.Right, ip4(2))
		})
	}
}

func TestWhatIsSentWhileThePathIsAwayArrivesInOrder(t *testing.T) {
	b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, "")
	s := b.stream(50, 200)
	b.passes(s, 25)
	b.turn("blackhole=on")
	began := time.Now()
	b.lasts(7 * time.Second)
	healed := time.Now()
	b.Line.Heal(impair.Both)
	b.passes(s, 25)
	// A path is dead after 3 s under traffic; what came later waited.
	r := s.Stop(2*time.Second).Between(began.Add(3500*time.Millisecond), healed)
	if len(r.Packets) < 100 || r.Lost() > 0 || r.Overtaken() > 0 {
		t.Errorf("of %d datagrams sent while the path was known to be away %.1f %% are lost and %d out of order", len(r.Packets), 100*r.Lost(), r.Overtaken())
	}
}

func TestAFlowThatDiesSilentlyIsLeftForANewOne(t *testing.T) {
	for _, nat := range []bool{false, true} {
		t.Run(fmt.Sprintf("NAT %v", nat), func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: nat}, "")
			s := b.stream(50, 200)
			b.passes(s, 25)
			dead := map[impair.Flow]bool{}
			for _, f := range b.Line.VanishSeen(impair.Both) {
				dead[f] = true
			}
			if len(dead) == 0 {
				t.Fatal("no flow was on the line")
			}
			died := time.Now()
			back := b.passes(s, 25)
			t.Logf("%d flows died; 25 datagrams more within %s", len(dead), back.Sub(died).Round(10*time.Millisecond))
			alive := 0
			for f := range b.Line.Flows() {
				if !dead[f] {
					alive++
				}
			}
			if alive == 0 {
				t.Error("traffic is back, and yet there is no new flow")
			}
			b.reaches(b.Right, ip4(2))
		})
	}
}

func TestAConnectionInsideSurvivesANewAddress(t *testing.T) {
	b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "rate=50mbit queue=50ms")
	s := b.bulk()
	_, err := b.Left.Shell(b.ctx, "ip -4 addr flush dev eth0; ip addr add 192.0.2.77/24 dev eth0")
	must(t, err)
	changed := time.Now()
	b.moves(s)
	t.Logf("moved again within %s", time.Since(changed).Round(10*time.Millisecond))
	b.reaches(b.Right, ip4(2))
}

func TestAConnectionInsideSurvivesARouterThatForgets(t *testing.T) {
	b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, "rate=50mbit queue=50ms")
	s := b.bulk()
	for range 2 {
		_, err := b.Router.Run(b.ctx, "conntrack", "-F")
		must(t, err)
		b.moves(s)
	}
	b.reaches(b.Right, ip4(2))
}

func TestAnMTUThatNobodyTellsIsFound(t *testing.T) {
	for _, mtu := range []int{1400, 1280} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, fmt.Sprintf("mtu=%d", mtu), "--mtu", "0")
			_, err := lab.Transfer(b.ctx, b.Left, b.Right, ip4(1), 2<<20)
			must(t, err)
			_, err = lab.Transfer(b.ctx, b.Right, b.Left, ip4(2), 2<<20)
			must(t, err)
		})
	}
}

func TestAConnectionInsideSurvivesAPathThatNarrows(t *testing.T) {
	b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, "rate=50mbit queue=50ms mtu=1400", "--mtu", "0")
	s := b.bulk()
	b.turn("mtu=1280")
	narrowed := time.Now()
	b.moves(s)
	t.Logf("moved again within %s", time.Since(narrowed).Round(10*time.Millisecond))
	if line := b.Line.Stats(impair.There); line.Dropped[impair.TooBig].Packets == 0 {
		t.Errorf("no packet was too big: %+v", line)
	}
}
