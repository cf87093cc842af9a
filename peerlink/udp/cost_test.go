package udp

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestSendingAndReceivingAllocateNothing(t *testing.T) {
	na, nb := nstest.Pair(t)
	for name, cfg := range map[string]Config{
		"offload": {}, "batches": {NoGSO: true, NoGRO: true}, "single": {NoGSO: true, NoGRO: true, NoBatch: true},
	} {
		for family, at := range map[string]netip.Addr{"IPv4": b4, "IPv6": b6} {
			t.Run(name+" "+family, func(t *testing.T) {
				a, b := newHost(t, na, cfg), newHost(t, nb, cfg)
				p := a.through(t, 0, b.at(at))
				p.Adopt()
				tr := packet.NewTrain()
				round := func() {
					fill(tr, 60, 1000, 10)
					if err := p.SendHops(tr, 3); err != nil {
						t.Fatal(err, a.Drops())
					}
					for got := 0; got < tr.Len(); {
						batch, err := b.Receive()
						if err != nil {
							t.Fatal(err)
						}
						got += len(batch)
					}
				}
				send(t, p, text("hello"))
				if _, err := b.Receive(); err != nil {
					t.Fatal(err)
				}
				round()  // the neighbours find each other, the slices their size
				a.stop() // following the host's routes does allocate
				b.stop()
				if got := testing.AllocsPerRun(100, round); got != 0 {
					t.Errorf("%v allocations", got)
				}
			})
		}
	}
}

// TestEverythingAtOnce is for the race detector.
func TestEverythingAtOnce(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{MaxPaths: 16})
	enough, answered := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(answered)
		for {
			select {
			case got := <-b.arrived:
				_ = got.path.Send(text("answer"))
				got.path.Adopt()
				got.path.MaxDatagram()
			case <-enough:
				return
			}
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range a.arrived {
		}
	}()
	var all sync.WaitGroup
	for i := range 4 {
		numbers := a.more(t, 8, i%2 == 1)
		to := b.at([]netip.Addr{b4, b6}[i%2])
		all.Go(func() {
			tr := train(20, 500, 0)
			for _, n := range numbers {
				p, err := a.Through(n, to)
				if err != nil {
					return // released
				}
				p.(*Path).OnChange(func() {})
				p.Adopt()
				for range 50 {
					_ = p.Send(tr)
				}
				a.Wake()
				p.Close()
			}
		})
		all.Go(func() { a.Release(numbers[4:]) })
		all.Go(func() {
			for range 20 {
				a.Status()
				b.Drops()
			}
		})
	}
	na.Run("ip route add 10.66.0.0/16 via 10.77.0.2", "ip link set v0 mtu 1400")
	go func() {
		for range a.woke {
		}
	}()
	all.Wait()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	close(a.woke)
	close(enough)
	<-answered // paths may be used until their transport is closed, not meanwhile
}

// BenchmarkBurst sends and receives bursts of 45 datagrams of 1400 bytes, all by
// one goroutine.
func BenchmarkBurst(b *testing.B) {
	na, nb := nstest.Pair(b)
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"GSO+GRO", Config{}},
		{"GSO", Config{NoGRO: true}},
		{"GRO", Config{NoGSO: true}},
		{"sendmmsg+recvmmsg", Config{NoGSO: true, NoGRO: true}},
		{"sendmsg+recvmsg", Config{NoGSO: true, NoGRO: true, NoBatch: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			from, to := newHost(b, na, c.cfg), newHost(b, nb, c.cfg)
			p := from.through(b, 0, to.at(b4))
			p.Adopt()
			tr := train(45, 1400, 0)
			b.SetBytes(45 * 1400)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Send(tr); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < tr.Len(); {
					batch, err := to.Receive()
					if err != nil {
						b.Fatal(err)
					}
					got += len(batch)
				}
			}
		})
	}
}

// BenchmarkRoundTrip is one datagram there and back, with a pump at each end.
func BenchmarkRoundTrip(b *testing.B) {
	na, nb := nstest.Pair(b)
	near, far := newHost(b, na, Config{}), newHost(b, nb, Config{})
	go func() {
		answer := text("answer")
		for {
			batch, err := far.Receive()
			if err != nil {
				return
			}
			for _, a := range batch {
				_ = a.Path.Send(answer)
			}
		}
	}()
	p := near.through(b, 0, far.at(b4))
	p.Adopt()
	question := text("question")
	for b.Loop() {
		if err := p.Send(question); err != nil {
			b.Fatal(err)
		}
		if _, err := near.Receive(); err != nil {
			b.Fatal(err)
		}
	}
}
