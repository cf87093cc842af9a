package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// home is what most people have: a Linux router that masquerades.
var home = lab.RouterConfig{Kind: lab.NATPortRestricted}

// twoHomes are two sites about to join, and the seed at which they will.
func twoHomes(t *testing.T) (i *internet, seed, a, b *place) {
	t.Helper()
	i = newInternet(t, plain(t), 60*time.Second)
	seed = i.public("seed")
	a, b = i.behind("a", home), i.behind("b", home)
	i.seedAt(seed)
	return i, seed, a, b
}

// oneBurst is how far apart retransmissions of one burst may be: a sender's
// timeout doubles a few times until the way is back.
const oneBurst = 2 * time.Second

func TestTrafficMovesToADirectPathAndBackAndLosesNothing(t *testing.T) {
	i, seed, a, b := twoHomes(t)
	i.cut(a, b)
	i.join(a)
	i.join(b)
	i.reaches(a.host.Namespace, b.address())
	i.relayed(i.ctx, a, b)
	stream := i.stream(a, b, 200)
	tcp, err := lab.StartBulk(i.ctx, b.host.Namespace, a.host.Namespace, a.address())
	must(t, err)
	t.Cleanup(func() { tcp.Stop() })
	must(t, tcp.Pace(20))
	iperf := i.iperf(a, b, 10)
	i.passes(stream, 100)

	opened := time.Now()
	i.uncut()
	i.shows(i.ctx, a, b, "udp", at(b.router.Public4))
	i.shows(i.ctx, b, a, "udp", at(a.router.Public4))
	t.Logf("direct within %s", time.Since(opened).Round(10*time.Millisecond))
	i.passes(stream, 100)

	// What else this machine does may hold one fall up, not each.
	var began, ended time.Time
	falls := 0
	for {
		falls++
		began = time.Now()
		took := i.fall(stream, a, b, seed)
		i.uncut()
		i.direct(i.ctx, a, b)
		i.passes(stream, 100)
		ended = time.Now()
		t.Logf("back on the relay within %s; %d bursts of retransmissions, TCP stood still for %s", took.Round(time.Millisecond),
			tcp.RetransmissionBursts(began, ended, oneBurst), tcp.LongestStall(began, ended).Round(time.Millisecond))
		if took <= time.Second {
			break
		}
		if falls == 5 {
			t.Errorf("back on the relay within %s, want 1 s", took)
			break
		}
	}
	if n := tcp.RetransmissionBursts(began, ended, oneBurst); n > 1 {
		t.Errorf("%d bursts of retransmissions on the way to the relay and back", n)
	}
	if err := tcp.Err(); err != nil {
		t.Errorf("the TCP connection inside broke: %v", err)
	}
	retransmits := iperf.stop()
	t.Logf("iperf3 sent again, in each %s: %v", iperfInterval, retransmits)
	if n := bursts(retransmits, oneBurst); n > falls {
		t.Errorf("iperf3 had %d bursts of retransmissions at %d falls to the relay: %v", n, falls, retransmits)
	}
	report := stream.Stop(2 * time.Second)
	if up := report.Between(opened.Add(-time.Second), began); up.Lost() > 0 {
		t.Errorf("%.2f %% of %d datagrams were lost on the way up", 100*up.Lost(), len(up.Packets))
	}
	if report.Lost() > 0 {
		t.Errorf("%.2f %% of all %d datagrams were lost", 100*report.Lost(), len(report.Packets))
	}
}

// fall cuts the way between two places and says how long it took until something
// that was sent then arrived by the relay.
func (i *internet) fall(stream *lab.Stream, a, b, relay *place) time.Duration {
	i.t.Helper()
	i.cut(a, b)
	cut := time.Now()
	i.passes(stream, 100)
	i.shows(i.ctx, a, b, "relay", via(relay))
	i.shows(i.ctx, b, a, "relay", via(relay))
	first, _ := stream.FirstArrivalOf(cut)
	return first.Sub(cut.Round(0)) // the kernel's time is the wall clock's
}

func TestARestartAndANewAddressAreFollowedByADirectPath(t *testing.T) {
	i, _, a, b := twoHomes(t)
	i.join(a)
	i.join(b)
	i.direct(i.ctx, a, b)

	stream := i.stream(a, b, 50)
	must(t, b.Kill())
	killed := time.Now()
	i.again(b)
	i.direct(i.ctx, a, b)
	i.passes(stream, 50)
	t.Logf("killed, started again and direct within %s", time.Since(killed).Round(10*time.Millisecond))

	// The provider gives b's router another address: everything that it had
	// translated is gone.
	i.renumber(b)
	moved := time.Now()
	i.passes(stream, 25)
	back := time.Since(moved)
	i.shows(i.ctx, a, b, "udp rawtcp", at(b.router.Public4))
	i.shows(i.ctx, b, a, "udp rawtcp", at(a.router.Public4))
	t.Logf("traffic was back after %s, direct after %s", back.Round(10*time.Millisecond), time.Since(moved).Round(10*time.Millisecond))
	i.transfers(a, b)
}

func TestIdleDirectPeersAreQuiet(t *testing.T) {
	i, _, a, b := twoHomes(t)
	i.join(a)
	i.join(b)
	i.direct(i.ctx, a, b)
	// A young mesh has much to tell; a storm would never end.
	const window, most = 5 * time.Second, 3.0
	must(t, lab.Until(i.ctx, "the peers are quiet", func() error {
		before, began := i.packets(a), time.Now()
		i.lasts(window)
		perSecond := float64(i.packets(a)-before) / time.Since(began).Seconds() / 2
		t.Logf("each sent %.1f packets a second", perSecond)
		if perSecond >= most {
			return fmt.Errorf("each sent %.1f packets a second, want less than %.0f", perSecond, most)
		}
		return nil
	}))
}

// packets is what a place's router has passed so far between its host and others
// than the seeds.
func (i *internet) packets(p *place) uint64 {
	i.t.Helper()
	n, err := p.router.Traffic(i.ctx)
	must(i.t, err)
	return n.UDPIn + n.UDPOut + n.TCPIn + n.TCPOut
}
