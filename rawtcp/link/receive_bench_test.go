package link

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// BenchmarkReceive has one goroutine send bursts as fast as it can for a second,
// and one receive: how much arrives, and what does it cost the receiver?
func BenchmarkReceive(b *testing.B) {
	for _, traffic := range []string{"mtu", "super"} {
		for _, way := range []string{"ring", "queue"} {
			b.Run(traffic+"/"+way, func(b *testing.B) {
				for b.Loop() {
					receiveFor(b, traffic, way, time.Second)
				}
			})
		}
	}
}

func receiveFor(b *testing.B, traffic, way string, span time.Duration) {
	na, nb := nstest.Pair(b)
	so := Options{}
	if traffic == "mtu" {
		so.NoGSO = true
		na.Run("ethtool -K v0 gro off tso off gso off")
		nb.Run("ethtool -K v0 gro off tso off gso off")
	}
	from := newStation(b, na, so, TapOptions{})
	to := newStation(b, nb, Options{}, TapOptions{NoRing: way != "ring"})
	nb.Run("nft add table netdev x", "nft add chain netdev x i { type filter hook ingress device v0 priority 0 ; }", "nft add rule netdev x i tcp dport 9000 drop")
	hop := lookup(b, from, b4)
	until(b, hop, "framed", func() bool { return hop.cur.Load().framed })

	type outcome struct {
		packets, calls, bytes int
		cpu                   time.Duration
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var o outcome
		start := threadCPU()
		for {
			batch, err := to.tap.Recv()
			if err != nil {
				o.cpu = threadCPU() - start
				done <- o
				return
			}
			o.calls++
			o.packets += len(batch)
			for _, p := range batch {
				o.bytes += len(p.IP)
			}
		}
	}()
	train := packet.NewTrain()
	sent := 0
	for end := time.Now().Add(span); time.Now().Before(end); {
		ipLen, tcpLen := load1(train)
		if from.sender.Send(hop, train, ipLen, tcpLen) == nil {
			sent += train.Len()
		}
	}
	dropped := to.tap.Dropped()
	to.tap.Close()
	o := <-done
	b.ReportMetric(float64(o.bytes)*8/1e9/span.Seconds(), "Gbit/s")
	b.ReportMetric(float64(o.packets)/1e3/span.Seconds(), "kpps")
	b.ReportMetric(float64(o.packets)/float64(max(o.calls, 1)), "packets/recv")
	b.ReportMetric(float64(o.cpu)/float64(time.Millisecond)/(float64(o.bytes)/1e9), "cpu-ms/GB")
	b.ReportMetric(100*float64(dropped)/float64(max(sent, 1)), "%dropped")
	b.ReportMetric(float64(sent)/1e3, "ksegments")
	b.ReportMetric(0, "ns/op")
}

// load1 is load without filling the payload each time.
func load1(t *packet.Train) (int, int) {
	t.Reset(0)
	for range 46 {
		t.Next(1400)
	}
	headersFor(t.Frame(52), a4, b4, 1, 1, 0x10, len(t.Bytes()))
	return 20, 32
}

func threadCPU() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
