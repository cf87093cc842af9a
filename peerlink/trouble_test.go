package peerlink

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func wrongKey(c *Config) { c.MeshKey = sha256.Sum256([]byte("another mesh")) }

func TestAWrongKeyIsNamedOnceOnBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("office", "192.0.2.2:1", []string{seedAddr}, wrongKey)
		good := n.start("nas", "192.0.2.3:1", []string{seedAddr}, nil)
		both(t, seed, good, 3*time.Second)
		pass(9 * time.Minute)
		const text = "Decryption error (wrong key?)"
		if c := site.log.count(text); c != 1 {
			t.Errorf("the site said it %d times", c)
		}
		if c := seed.log.count(text); c != 1 {
			t.Errorf("the seed said it %d times", c)
		}
		if seed.d.Undecipherable() == 0 || len(seed.d.Peers()) != 1 {
			t.Errorf("%d undecipherable, %d peers", seed.d.Undecipherable(), len(seed.d.Peers()))
		}
	})
}

func TestARefusedNodeReadsTheSentenceOnceAndRetriesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("outlaw", "192.0.2.2:1", []string{seedAddr}, nil)
		pass(9 * time.Minute)
		if c := site.log.count("the seed does not connect: seed=" + seedAddr + ` reason="address 10.0.0.2 belongs`); c != 1 {
			t.Errorf("the site said it %d times: %v", c, site.log.lines)
		}
		if c := seed.log.count("a node was refused"); c != 1 {
			t.Errorf("the seed said it %d times", c)
		}
		if seed.link(site).State == Up || site.link(seed).State == Up {
			t.Error("they are linked all the same")
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if tries := n.ports - 40000; tries < 5 || tries > 20 {
			t.Errorf("%d tries in 9 minutes", tries)
		}
	})
}

func TestAWrongClockIsCorrectedAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("office", "192.0.2.2:1", nil, nil)
		if err := site.join(seedAddr); err != nil {
			t.Fatal(err)
		}
		both(t, seed, site, 3*time.Second)
		// The machine's clock cannot be moved inside the bubble: a correction
		// that is wrong by an hour makes the same first message.
		init := initiation{sender: newSender(site.d), answers: actors.NewMailbox[answered]("", 4).Ref(), log: site.d.cfg.Log}
		answers := actors.NewMailbox[answered]("", 4)
		init.answers, init.offset = answers.Ref(), -time.Hour
		out := site.d.Peer(seed.d.cfg.ID).Outbound()
		if err := init.begin(out.Path(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if p, err := init.answer(<-answers.C(), time.Now()); p != nil || err != errClock {
			t.Fatalf("got %v, %v", p, err)
		}
		if init.offset < -time.Second || init.offset > time.Second {
			t.Errorf("the correction is %v", init.offset)
		}
		if c := site.log.count("clock differs"); c != 1 {
			t.Errorf("said %d times", c)
		}
		if err := init.begin(out.Path(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if p, err := init.answer(<-answers.C(), time.Now()); p == nil || err != nil {
			t.Errorf("the corrected try got %v, %v", p, err)
		}
	})
}

// join asks the peers actor for one more seed.
func (s *site) join(address string) error {
	err, askErr := actors.Ask(context.Background(), s.d.Ref(), func(r actors.Reply[error]) message.ToPeers {
		return message.JoinSeed{Seed: address, Reply: r}
	})
	if askErr != nil {
		return askErr
	}
	return err
}

func TestASeedCanBeAddedAtRunTimeAndNonsenseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("office", "192.0.2.2:1", nil, nil)
		if err := site.join("nonsense"); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("got %v", err)
		}
		if err := site.join(seedAddr); err != nil {
			t.Fatal(err)
		}
		both(t, seed, site, 3*time.Second)
	})
}

func TestTwoSeedsThatAreOneNodeShareOneFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		const second = "192.0.2.1:9001"
		n.mu.Lock()
		n.sites[n.must(second)] = seed
		n.mu.Unlock()
		site := n.start("office", "192.0.2.2:1", []string{seedAddr, second}, nil)
		both(t, seed, site, 3*time.Second)
		pass(5 * time.Second)
		n.mu.Lock()
		flows := n.ports
		n.mu.Unlock()
		pass(time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.ports != flows {
			t.Errorf("%d more flows in an idle minute", n.ports-flows)
		}
	})
}

func TestJunkReachesNoActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, site := pair(n)
		out := site.d.Peer(seed.d.cfg.ID).Outbound()
		pass(time.Second)
		depth := seed.d.box.Depth()
		junk := sha256.Sum256([]byte("junk"))
		took := 0
		for range 20000 {
			junk = sha256.Sum256(junk[:])
			b := append(append([]byte{}, junk[:]...), junk[:]...)
			h, err := seed.d.Unmask(b)
			if err != nil || seed.d.Session(h.Index) != nil {
				t.Fatal("junk names a session")
			}
			if seed.d.Handshake(b, out.Path()) {
				took++
			}
		}
		if took != 0 || seed.d.box.Depth() > depth+1 {
			t.Errorf("%d were taken, %d messages for the actor", took, seed.d.box.Depth()-depth)
		}
	})
}

func TestStagingIsBoundedInPacketsAndBytesAndSendsInOrder(t *testing.T) {
	_, out := bare(t)
	q := staging{maxPackets: 1000, maxBytes: 10_000, room: new(room)}
	var want []int
	for i := range 3000 {
		want = append(want, i%300+1)
		q.add([]staged{{Again: Again{Packet: make([]byte, i%300+1)}}})
		if q.len() > q.maxPackets || q.bytes > q.maxBytes {
			t.Fatalf("%d packets of %d bytes wait", q.len(), q.bytes)
		}
	}
	want = want[len(want)-q.len():]
	sum := 0
	for _, n := range want {
		sum += n
	}
	if sum != q.bytes || sum < 9_000 {
		t.Errorf("%d bytes wait, want %d", q.bytes, sum)
	}
	var got []int
	out.path = &recorder{sink: sink{prefix: 5}, got: &got}
	q.add([]staged{{Again: Again{Packet: make([]byte, 5000)}}}) // larger than the path takes
	want = want[len(want)-q.len()+1:]
	for !q.flush(out, packet.NewTrain(), 1000) {
		if q.len() == 0 {
			t.Fatal("not done, and nothing waits")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	if q.len() != 0 || out.peer.txPackets.Load() != uint64(len(want)) {
		t.Errorf("%d wait, %d sent", q.len(), out.peer.txPackets.Load())
	}
}

// recorder notes the sizes of the packets sent.
type recorder struct {
	sink
	got *[]int
}

func (r *recorder) Send(t *packet.Train) error {
	for i := range t.Len() {
		*r.got = append(*r.got, len(t.Datagram(i))-wire.Overhead)
	}
	return nil
}

func TestAFullStagingQueueDropsTheOldestAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		few := func(c *Config) { c.SendQueue = 10 }
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("office", "192.0.2.2:1", nil, few)
		site.d.Ref().Offer(message.Known{Advert: message.Advert{ID: seed.d.cfg.ID, Name: "fra-seed"}})
		synctest.Wait()
		for _, text := range strings.Fields("a b c d e f g h i j k l m") {
			site.send(seed, text)
			synctest.Wait()
		}
		if err := site.join(seedAddr); err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Fields("d e f g h i j k l m") {
			expect(t, seed, text)
		}
		if d := site.link(seed).TxDropped; d != 3 {
			t.Errorf("%d dropped", d)
		}
		if c := site.log.count("Send queue full, dropping packet"); c != 1 {
			t.Errorf("said %d times", c)
		}
	})
}

func TestTheFirstPacketOnANewPathMovesTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, site := pair(n)
		var fresh packet.Path
		done := make(chan struct{})
		site.Dial(n.must(seedAddr), func(p packet.Path, err error) {
			if err != nil {
				t.Error(err)
			}
			fresh = p
			close(done)
		})
		<-done
		out := site.d.Peer(seed.d.cfg.ID).Outbound()
		site.d.Peer(seed.d.cfg.ID).box.Ref().Offer(dialled{path: fresh})
		eventually(t, time.Second, "both use the new path", func() bool {
			a, b := site.d.Peer(seed.d.cfg.ID).Outbound(), seed.d.Peer(site.d.cfg.ID).Outbound()
			return a != nil && b != nil && a.Path() == fresh && b.Path() == fresh.(*memPath).other
		})
		pass(10 * time.Second)
		if out.Path().Alive() {
			t.Error("the replaced path is still open")
		}
		both(t, seed, site, time.Second)
	})
}

func TestWhatGoesAsideMovesNoLinkAndIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		n.tap = true
		seed, site := pair(n)
		pass(time.Second)
		peer := seed.d.Peer(site.d.cfg.ID)
		before := peer.Outbound().Path()
		dialled := make(chan packet.Path, 1)
		site.Dial(n.must(seedAddr), func(p packet.Path, err error) { dialled <- p })
		fresh := <-dialled
		s := newSender(site.d)
		out := site.d.Peer(seed.d.cfg.ID).Outbound()
		received := peer.rxPackets.Load()
		s.aside(out.sealer, fresh, wire.Ping{ID: 7})
		n.mu.Lock()
		datagram := slices.Clone(n.wire[len(n.wire)-1])
		n.mu.Unlock()
		pass(100 * time.Millisecond)
		if peer.Outbound().Path() != before || peer.rxPackets.Load() != received {
			t.Error("a probe aside of the stream moved the link, or was counted")
		}
		h, err := seed.d.Unmask(datagram)
		if err != nil || !h.Aside() {
			t.Fatal(h, err)
		}
		in := seed.d.Session(h.Index)
		if _, err := in.Open(nil, datagram, h); err != ErrReplay {
			t.Errorf("the second time: %v", err)
		}
		s.control(out.sealer, fresh, wire.Ping{ID: 8})
		pass(100 * time.Millisecond)
		if peer.Outbound().Path() == before {
			t.Error("a probe in the stream did not move it")
		}
	})
}
