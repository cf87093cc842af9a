package rawtcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// sinkNode listens and counts what it gets.
func sinkNode(listen []string) (rep report, err error) {
	tr, err := live(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort(listen[0])}})
	if err != nil {
		return rep, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			in, err := tr.Receive()
			if err != nil {
				return
			}
			in[0].Path.(*Flow).Adopt()
			rep.Echoed += len(in)
		}
	}()
	fmt.Println("ready")
	untilStdinEnds()
	status, drops := tr.Status(), tr.Drops()
	err = tr.Close()
	<-ended
	rep.Status, rep.Drops = status, drops
	return rep, err
}

// blastNode sends as fast as the window lets it. Arguments: address, duration.
func blastNode(args []string) (rep report, err error) {
	fmt.Println("ready")
	span, err := time.ParseDuration(args[1])
	if err != nil {
		return rep, err
	}
	tr, err := live(Config{})
	if err != nil {
		return rep, err
	}
	go func() {
		for {
			if _, err := tr.Receive(); err != nil {
				return
			}
		}
	}()
	result := make(chan dialled, 1)
	tr.Dial(netip.MustParseAddrPort(args[0]), func(p packet.Path, err error) { result <- dialled{p, err} })
	d := <-result
	if d.err != nil {
		return rep, d.err
	}
	train := packet.NewTrain()
	for end := time.Now().Add(span); time.Now().Before(end); {
		train.Reset(d.path.Prefix())
		for range 44 {
			train.Next(d.path.MaxDatagram())
		}
		switch err := d.path.Send(train); {
		case err == nil:
			rep.Sent += 44
		case !errors.Is(err, packet.ErrFull):
			return rep, err
		}
	}
	f := d.path.(*Flow)
	// Looks are counted and not the time: while the machine stands still, nobody can
	// acknowledge.
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for looks := 0; f.inFlight() > 0 && looks < 100; looks++ {
		<-look.C
	}
	if f.inFlight() > 0 {
		rep.Error = fmt.Sprintf("%d bytes stay in flight", f.inFlight())
	}
	rep.take(tr)
	return rep, tr.Close()
}

func TestAFullSpeedStreamStaysValidForAStrictRouter(t *testing.T) {
	site, router, server := throughRouter(t, "")
	sink := start(t, server, "sink", "203.0.113.2:9000")
	got := start(t, site, "blast", "203.0.113.2:9000", "2s").wait()
	back := sink.finish()
	if got.Error != "" || back.Error != "" || back.Echoed < 100000 {
		t.Errorf("%+v\n%+v", got, back)
	}
	if line := invalid(t, router); !strings.Contains(line, "counter packets 0 ") {
		t.Error(line)
	}
	t.Logf("%.1f Gbit/s, drops %v and %v", float64(back.Echoed)*1443*8/2e9, got.Drops, back.Drops)
}

// junk throws random TCP segments at an address for a while. Arguments: address,
// duration.
func junk(args []string) (rep report, err error) {
	fmt.Println("ready")
	to := netip.MustParseAddrPort(args[0])
	span, err := time.ParseDuration(args[1])
	if err != nil {
		return rep, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return rep, err
	}
	pkt := make([]byte, 200)
	for end := time.Now().Add(span); time.Now().Before(end); rep.Sent++ {
		tu := newTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(3 + rand.IntN(200))}), uint16(rand.Uint32())), to)
		h := header{tuple: &tu, pseudo: tu.pseudoSum(), ttl: 64, flags: uint8(rand.Uint32()) & 0x3f, window: uint16(rand.Uint32()),
			seq: rand.Uint32(), ack: rand.Uint32(), opts: options{wscale: -1, stamps: rand.IntN(2) == 0}}
		ip, tcp := h.size()
		n := rand.IntN(100)
		h.put(pkt[:ip+tcp], n)
		binary.LittleEndian.PutUint64(pkt[ip+tcp:], rand.Uint64())
		if rand.IntN(2) == 0 {
			pkt[ip+12] = byte(rand.Uint32())
		}
		_ = unix.Sendto(fd, pkt[:ip+tcp+n], 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	}
	return rep, unix.Close(fd)
}

func TestAJunkFloodCostsNoConnection(t *testing.T) {
	a, b := nstest.Pair(t)
	server := start(t, b, "echo", "0.0.0.0:9000")
	flood := start(t, a, "junk", "10.77.0.2:9000", "3s")
	for range 3 {
		got := start(t, a, "client", "10.77.0.2:9000", "100").wait()
		if got.Error != "" || got.Echoed*10 < got.Sent*8 {
			t.Errorf("%+v", got)
		}
	}
	threw := flood.wait()
	rep := server.finish()
	if rep.Error != "" || threw.Sent < 50000 || rep.Status.HalfOpen > 256 {
		t.Errorf("threw %d: %+v", threw.Sent, rep)
	}
	t.Logf("%d segments of junk: %v", threw.Sent, rep.Drops)
}
