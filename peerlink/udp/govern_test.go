package udp

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// mayWait is how many bytes the kernel lets wait behind socket zero.
func (h *host) mayWait(t *testing.T) int {
	t.Helper()
	n, err := unix.GetsockoptInt((*h.sockets.Load())[socketID{}].fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASlowInterfaceGetsNoStandingQueue(t *testing.T) {
	na, nb := nstest.Pair(t)
	// 2.5 MB/s, and room for far more than a socket's send buffer.
	if out, err := na.Try("tc qdisc add dev v0 root tbf rate 20mbit burst 64kb limit 50mb"); err != nil {
		t.Skip(err, out)
	}
	a, b := newHost(t, na, Config{}), pumped(t, nb, Config{})
	p := a.through(t, 0, b.at(b4))
	p.Adopt()
	free := a.mayWait(t)
	if free < 1<<20 {
		t.Skipf("the kernel gives a socket no more than %d bytes", free)
	}
	const (
		allowed = 2_500_000 / 20 // 50 ms
		super   = 20             // datagrams
	)
	burst := packet.NewTrain()
	refused := 0
	for began := time.Now(); a.mayWait(t) > allowed; {
		if time.Since(began) > patience {
			t.Fatalf("%d bytes may wait; %d bursts were refused: %v", a.mayWait(t), refused, a.Drops())
		}
		fill(burst, super, 1400, 0)
		switch err := p.Send(burst); {
		case errors.Is(err, packet.ErrFull):
			refused++
			b.next(t) // the interface has sent something
		case err != nil:
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused: the interface was fast enough")
	}
	// It is idle now. What has waited goes out, and then nothing is wrong any more.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); a.mayWait(t) != free; <-tick.C {
		if time.Since(began) > patience {
			t.Fatalf("%d bytes may wait, not %d as before", a.mayWait(t), free)
		}
	}
}
