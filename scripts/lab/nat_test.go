package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The servers of an RFC 5780 test: two addresses with two ports each.
const serverPort, otherPort = 7001, 7002

// world is an internet with two servers and a host behind a router.
type world struct {
	ctx     context.Context
	net     *Internet
	servers [2]*Host
	routers []*NATRouter // the outermost first
	router  *NATRouter   // the innermost
	host    *Host
}

func newWorld(t *testing.T, l *Lab, ctx context.Context, name string, configs ...RouterConfig) *world {
	t.Helper()
	w := &world{ctx: ctx}
	var err error
	w.net, err = l.NewInternet(ctx, InternetConfig{Name: name})
	must(t, err)
	for i := range w.servers {
		w.servers[i], err = w.net.Host(ctx, fmt.Sprintf("server%d", i+1))
		must(t, err)
	}
	w.router, err = w.net.Router(ctx, "router", configs[0])
	must(t, err)
	w.routers = append(w.routers, w.router)
	for i, c := range configs[1:] {
		w.router, err = w.router.Router(ctx, fmt.Sprintf("home%d", i), c)
		must(t, err)
		w.routers = append(w.routers, w.router)
	}
	w.host, err = w.router.Host(ctx, "host")
	must(t, err)
	return w
}

// reuse lets several sockets share a local port.
func reuse(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// endpoint is a UDP socket, or a TCP port that listens and dials.
type endpoint struct {
	in       *Host
	tcp      bool
	at       netip.AddrPort
	udp      net.PacketConn
	listener net.Listener
	from     chan netip.AddrPort // who has been heard
}

func open(t *testing.T, in *Host, tcp bool, port uint16) *endpoint {
	t.Helper()
	e := &endpoint{in: in, tcp: tcp, from: make(chan netip.AddrPort, 1024)}
	must(t, in.Do(func() (err error) {
		config := net.ListenConfig{Control: reuse}
		at := netip.AddrPortFrom(netip.MustParseAddr(in.IPv4), port).String()
		if tcp {
			e.listener, err = config.Listen(t.Context(), "tcp", at)
		} else {
			e.udp, err = config.ListenPacket(t.Context(), "udp", at)
		}
		return err
	}))
	if tcp {
		e.at = e.listener.Addr().(*net.TCPAddr).AddrPort()
		t.Cleanup(func() { e.listener.Close() })
		go func() {
			for {
				c, err := e.listener.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { c.Close() })
				e.from <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
			}
		}()
		return e
	}
	e.at = e.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	t.Cleanup(func() { e.udp.Close() })
	go func() {
		for buf := make([]byte, 2000); ; {
			_, from, err := e.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			e.from <- from.(*net.UDPAddr).AddrPort()
		}
	}()
	return e
}

// speak sends a datagram, or opens a connection, to a remote endpoint. What
// cannot be reached is not an error: whoever should hear decides.
func (e *endpoint) speak(t *testing.T, ctx context.Context, to netip.AddrPort) {
	t.Helper()
	if !e.tcp {
		_, err := e.udp.(*net.UDPConn).WriteToUDPAddrPort([]byte("hello"), to)
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		return
	}
	must(t, e.in.Do(func() error {
		d := net.Dialer{Control: reuse, LocalAddr: net.TCPAddrFromAddrPort(e.at)}
		c, err := d.DialContext(ctx, "tcp", to.String())
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return nil
	}))
}

// heard waits until e hears somebody.
func (e *endpoint) heard(t *testing.T, ctx context.Context) netip.AddrPort {
	t.Helper()
	select {
	case from := <-e.from:
		return from
	case <-ctx.Done():
		t.Fatalf("%s at %v hears nobody", e.in.Role, e.at)
		return netip.AddrPort{}
	}
}

// unsolicited is what the routers have counted as such.
func (w *world) unsolicited(t *testing.T) (sum uint64) {
	t.Helper()
	for _, r := range w.routers {
		n, err := r.Counter(w.ctx, "unsolicited")
		must(t, err)
		sum += n
	}
	return sum
}

// getsIn says whether what a server sends to a mapping arrives, or the router
// counts it as unsolicited.
func (w *world) getsIn(t *testing.T, server *endpoint, mapping netip.AddrPort, host *endpoint) bool {
	t.Helper()
	before := w.unsolicited(t)
	trying, stop := context.WithCancel(w.ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.speak(t, trying, mapping)
	}()
	in := false
	must(t, Until(w.ctx, "the packet is either let in or counted", func() error {
		select {
		case <-host.from:
			in = true
			return nil
		default:
		}
		if w.unsolicited(t) == before {
			return errors.New("neither")
		}
		return nil
	}))
	stop()
	<-ended
	return in
}

// behaviour is how a router maps and filters, as RFC 5780 sees it.
type behaviour struct {
	mapsAlike            bool // one mapping for all destinations
	step                 int  // between the mappings of consecutive destinations, if they differ by the same
	letsPort, letsServer bool // in: another port of who was spoken to; another server
}

func (w *world) observe(t *testing.T, tcp bool) (b behaviour) {
	t.Helper()
	var servers []*endpoint
	for _, s := range w.servers {
		for _, port := range []uint16{serverPort, otherPort} {
			servers = append(servers, open(t, s, tcp, port))
		}
	}
	host := open(t, w.host, tcp, 5000)
	var ports []int
	b.mapsAlike = true
	for _, s := range servers {
		host.speak(t, w.ctx, s.at)
		mapping := s.heard(t, w.ctx)
		if w.router.config.Kind.Translates() && mapping.Addr().String() != w.router.Public4 {
			t.Errorf("seen from %v, want %s", mapping, w.router.Public4)
		}
		ports = append(ports, int(mapping.Port()))
		b.mapsAlike = b.mapsAlike && ports[0] == int(mapping.Port())
	}
	b.step = ports[1] - ports[0]
	for i := 2; i < len(ports); i++ {
		if ports[i]-ports[i-1] != b.step {
			b.step = 0
		}
	}
	// Another socket, which speaks to one server alone.
	host = open(t, w.host, tcp, 5001)
	host.speak(t, w.ctx, servers[0].at)
	mapping := servers[0].heard(t, w.ctx)
	b.letsServer = w.getsIn(t, servers[2], mapping, host)
	b.letsPort = w.getsIn(t, servers[1], mapping, host)
	return b
}

func TestEachKindOfRouterMapsAndFiltersAsItsNameSays(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 60*time.Second)
	for i, test := range []struct {
		routers []RouterConfig
		want    behaviour
	}{
		{[]RouterConfig{{Kind: NATNone}}, behaviour{mapsAlike: true, letsPort: true, letsServer: true}},
		{[]RouterConfig{{Kind: NATFirewall}}, behaviour{mapsAlike: true}},
		{[]RouterConfig{{Kind: NATFullCone}}, behaviour{mapsAlike: true, letsPort: true, letsServer: true}},
		{[]RouterConfig{{Kind: NATRestricted}}, behaviour{mapsAlike: true, letsPort: true}},
		{[]RouterConfig{{Kind: NATPortRestricted}}, behaviour{mapsAlike: true}},
		{[]RouterConfig{{Kind: NATPortRestricted, Hairpin: true}}, behaviour{mapsAlike: true}},
		{[]RouterConfig{{Kind: NATStep}}, behaviour{step: 1}},
		{[]RouterConfig{{Kind: NATRandom}}, behaviour{}},
		{[]RouterConfig{{Kind: NATFullCone}, {Kind: NATPortRestricted}}, behaviour{mapsAlike: true}},
		{[]RouterConfig{{Kind: NATRestricted}, {Kind: NATFullCone}}, behaviour{mapsAlike: true, letsPort: true}},
	} {
		name := strings.ReplaceAll(fmt.Sprint(test.routers), " ", "-")
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l, ctx, fmt.Sprintf("k%d-", i), test.routers...)
			for _, tcp := range []bool{false, true} {
				if got := w.observe(t, tcp); got != test.want {
					t.Errorf("TCP %v: %+v, want %+v", tcp, got, test.want)
				}
			}
			traffic, err := w.router.Traffic(ctx)
			must(t, err)
			if traffic != (Traffic{}) {
				t.Errorf("what is between host and public servers was counted as direct: %+v", traffic)
			}
		})
	}
}
