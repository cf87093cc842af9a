package guard

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

const testPatience = 30 * time.Second

// prober sends SYNs and other segments from one namespace, and listens there for
// whatever the far kernel answers.
type prober struct {
	resolver *link.Resolver
	sender   *link.Sender
	tap      *link.Tap
}

// ownPort is where the prober's segments come from.
const ownPort = 41000

func newProber(t *testing.T, ns *nstest.NS) *prober {
	t.Helper()
	p := &prober{}
	var err error
	ns.Do(func() {
		if p.resolver, err = link.NewResolver(nil); err == nil {
			if p.sender, err = link.NewSender(p.resolver, link.Options{NoPacketSocket: true}); err == nil {
				p.tap, err = link.NewTap(link.TapOptions{})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.tap.SetFilter([]uint16{ownPort}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.tap.Close()
		p.sender.Close()
		p.resolver.Close()
	})
	return p
}

// answers sends one segment without a connection to each port in turn and
// returns those whose kernel answered with a reset before the last port, which
// must be one that is not guarded, did.
func (p *prober) answers(t *testing.T, dst netip.Addr, ports ...uint16) map[uint16]bool {
	t.Helper()
	hop, err := p.resolver.Lookup(dst)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		if err := p.sender.SendPacket(hop, segment(hop.Source(), dst, port)); err != nil {
			t.Fatal(err)
		}
	}
	resets := map[uint16]bool{}
	done := make(chan error, 1)
	go func() {
		for {
			batch, err := p.tap.Recv()
			if err != nil {
				done <- err
				return
			}
			for _, b := range batch {
				tcp := b.IP[20:]
				if b.IP[0]>>4 == 6 {
					tcp = b.IP[40:]
				}
				port := uint16(tcp[0])<<8 | uint16(tcp[1])
				if tcp[13]&4 != 0 {
					resets[port] = true
				}
				if port == ports[len(ports)-1] {
					done <- nil
					return
				}
			}
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(testPatience):
		p.tap.Close()
		<-done
		t.Fatalf("port %d, which is not guarded, does not answer: so far %v", ports[len(ports)-1], resets)
	}
	return resets
}

// segment is an ACK that belongs to no connection.
func segment(src, dst netip.Addr, port uint16) []byte {
	ipLen := 20
	if dst.Is6() {
		ipLen = 40
	}
	b := make([]byte, ipLen+20)
	ip, tcp := b[:ipLen], b[ipLen:]
	pseudo := 6 + 20
	add := func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			pseudo += int(b[i])<<8 | int(b[i+1])
		}
		pseudo = pseudo>>16 + pseudo&0xffff
	}
	if dst.Is4() {
		ip[0], ip[3], ip[6], ip[8], ip[9] = 0x45, 40, 0x40, 64, 6
		s, d := src.As4(), dst.As4()
		copy(ip[12:], s[:])
		copy(ip[16:], d[:])
		add(ip[12:20])
	} else {
		ip[0], ip[5], ip[6], ip[7] = 0x60, 20, 6, 64
		s, d := src.As16(), dst.As16()
		copy(ip[8:], s[:])
		copy(ip[24:], d[:])
		add(ip[8:40])
	}
	tcp[0], tcp[1], tcp[2], tcp[3] = ownPort>>8, ownPort&255, byte(port>>8), byte(port)
	tcp[7], tcp[11], tcp[12], tcp[13], tcp[14] = 1, 1, 5<<4, 0x10, 1
	pseudo = pseudo>>16 + pseudo&0xffff
	tcp[16], tcp[17] = byte(pseudo>>8), byte(pseudo)
	return b
}
