package rawtcp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func init() { roles["cross"], roles["seed"] = crossNode, seedNode }

// order is a line that a test writes to a crossing node. One field is set.
type order struct {
	Dial  netip.AddrPort
	Cross *packet.Crossing
	Talk  int // datagrams to send; as many are expected
}

// crossNode holds a port, tells it, and does what it is told, a line each: it
// answers each with a line.
func crossNode(args []string) (rep report, err error) {
	tr, err := live(Config{})
	if err != nil {
		return rep, err
	}
	arrived := make(chan int, 1<<16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			in, err := tr.Receive()
			if err != nil {
				return
			}
			arrived <- len(in)
		}
	}()
	held, err := tr.Hold(args[0] == "v6")
	if err != nil {
		return rep, err
	}
	fmt.Println("ready")
	fmt.Println(held.Port())
	var path packet.Path
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return rep, err
		}
		if o.Talk > 0 {
			talk(path.(*Flow), o.Talk, arrived, &rep)
			fmt.Println("talked")
			continue
		}
		result := make(chan dialled, 1)
		done := func(p packet.Path, err error) { result <- dialled{p, err} }
		if o.Cross != nil {
			held.Cross(*o.Cross, done)
		} else {
			held.Dial(o.Dial, done)
		}
		d := <-result
		if d.err != nil {
			fmt.Println(d.err)
			continue
		}
		if path = d.path; o.Cross == nil {
			err = sendTest(path, 1, 1, 100)
		}
		fmt.Println("open", path.Remote(), err)
	}
	rep.take(tr)
	err = tr.Close()
	<-ended
	return rep, err
}

// talk sends n datagrams as the peer's window allows and counts what arrives.
func talk(f *Flow, n int, arrived chan int, rep *report) {
	const size, perTrain = 1000, 20
	patience := time.After(20 * time.Second)
	look := time.NewTicker(2 * time.Millisecond) // for a window that has opened
	defer look.Stop()
	for rep.Sent < n || rep.Echoed < n {
		if room := int32(f.sndEdge.Load() - f.sndNxt.Load()); rep.Sent < n && room > perTrain*(size+recordPrefix) {
			if sendTest(f, 0, perTrain, size) == nil {
				rep.Sent += perTrain
			}
			continue
		}
		select {
		case k := <-arrived:
			rep.Echoed += k
		case <-look.C:
		case <-patience:
			return
		}
	}
}

// seedNode tells, a line each, from where connections with data come.
func seedNode(listen []string) (rep report, err error) {
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
			for _, a := range in {
				fmt.Println(a.Path.Remote())
			}
		}
	}()
	fmt.Println("ready")
	untilStdinEnds()
	rep.take(tr)
	err = tr.Close()
	<-ended
	return rep, err
}

// tell writes an order without waiting.
func (r *running) tell(o order) {
	r.t.Helper()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = r.stdin.(io.Writer).Write(append(line, '\n'))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// hears is the next line that the role writes.
func (r *running) hears() string {
	r.t.Helper()
	if !r.out.Scan() {
		r.t.Fatal("nothing heard")
	}
	return r.out.Text()
}

// site is a host behind a strict router; between the routers is the internet,
// itself a router.
type site struct {
	host, router *nstest.NS
	outer, inner string // addresses of router and host
	node         *running
	port         uint16
}

// natRules is how a router treats IPv4; for IPv6 each is a mere firewall.
type natRules struct {
	unasked string // what it does with what is for itself and nobody asked for
	snat    string
	admit   string // what of all else is let in to the host
}

// home is the router of a Linux home.
var home = natRules{unasked: "drop", snat: "masquerade"}

// internet makes two sites of one address family. Each router counts what its
// connection tracking finds invalid and drops it.
func internet(t *testing.T, v6 bool, kinds [2]natRules) (sites [2]*site, core *nstest.NS) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	core = nstest.New(t)
	forwarding := "sysctl -qw net.ipv4.ip_forward=1"
	places := [2][4]string{{"203.0.113.1", "203.0.113.2", "10.78.1.1", "10.78.1.2"}, {"198.51.100.1", "198.51.100.2", "10.78.2.1", "10.78.2.2"}}
	bits := "24"
	if v6 {
		forwarding = "sysctl -qw net.ipv6.conf.all.forwarding=1"
		places = [2][4]string{{"2001:db8:1::1", "2001:db8:1::2", "2001:db8:a::1", "2001:db8:a::2"}, {"2001:db8:2::1", "2001:db8:2::2", "2001:db8:b::1", "2001:db8:b::2"}}
		bits = "64 nodad"
	}
	core.Run(forwarding)
	for i, p := range places {
		router := nstest.Behind(t, core, p[0]+"/"+bits, p[1]+"/"+bits)
		host := nstest.Behind(t, router, p[2]+"/"+bits, p[3]+"/"+bits)
		host.Run("ip route add default via " + p[2])
		router.Run("ip route add default via "+p[0], forwarding)
		if v6 {
			core.Run("ip route add " + p[2] + "/64 via " + p[1])
			p[1] = p[3]
		}
		rules := `
table inet t {
	counter bad { }
	counter odd { }
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state invalid counter name bad drop
` + kinds[i].admit + `
		iifname "v0" ct state new drop
	}
	chain input {
		type filter hook input priority 0; policy accept;
		meta l4proto ipv6-icmp accept
		ct state invalid counter name bad drop
		iifname "v0" ct state new counter name odd ` + kinds[i].unasked + `
	}
`
		if !v6 {
			rules += "chain nat { type nat hook postrouting priority 100; oifname \"v0\" " + kinds[i].snat + " ; }\n"
			if kinds[i].admit != "" {
				rules += "chain in { type nat hook prerouting priority -100; iifname \"v0\" dnat ip to " + p[3] + " ; }\n" +
					"set spoken { type ipv4_addr; flags dynamic,timeout; timeout 150s; size 65535; }\n" +
					"chain out { type filter hook postrouting priority 120; oifname \"v0\" update @spoken { ip daddr } ; }\n"
			}
		}
		file := filepath.Join(t.TempDir(), "rules")
		if err := os.WriteFile(file, []byte(rules+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		router.Run("nft -f " + file)
		family := map[bool]string{false: "v4", true: "v6"}[v6]
		s := &site{host: host, router: router, outer: p[1], inner: p[3], node: start(t, host, "cross", family)}
		if _, err := fmt.Sscan(s.node.hears(), &s.port); err != nil {
			t.Fatal(err)
		}
		sites[i] = s
	}
	return sites, core
}

func (s *site) place() netip.AddrPort { return place(s.outer, s.port) }

// counted is the number of packets of one of the router's counters.
func (s *site) counted(t *testing.T, name string) (n int) {
	t.Helper()
	out := s.router.Run("nft list counter inet t " + name)
	_, after, _ := strings.Cut(out, "packets ")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err, out)
	}
	return n
}

// meets lets both sites cross and then talk, and fails if a router finds a packet
// of the conversation invalid.
func meets(t *testing.T, sites [2]*site, guesses [2][]netip.AddrPort, c packet.Crossing) {
	t.Helper()
	for i, s := range sites {
		c.Remotes = guesses[i]
		s.node.tell(order{Cross: &c})
	}
	for i, s := range sites {
		if line := s.node.hears(); !strings.HasPrefix(line, "open ") {
			t.Fatalf("site %d: %s", i, line)
		}
	}
	var before [2]int
	for i, s := range sites {
		before[i] = s.counted(t, "bad")
	}
	const datagrams = 2000
	for _, s := range sites {
		s.node.tell(order{Talk: datagrams})
	}
	for i, s := range sites {
		s.node.hears()
		if n := s.counted(t, "bad") - before[i]; n != 0 {
			t.Errorf("router %d found %d packets invalid", i, n)
		}
	}
	for i, s := range sites {
		if rep := s.node.finish(); rep.Error != "" || rep.Sent != datagrams || rep.Echoed != datagrams {
			t.Errorf("site %d: %+v", i, rep)
		}
	}
}

func TestRealKernelHostsMeetThroughTwoStrictRouters(t *testing.T) {
	for name, v6 := range map[string]bool{"v4 NAT": false, "v6 firewall": true} {
		t.Run(name, func(t *testing.T) {
			s, _ := internet(t, v6, [2]natRules{home, home})
			meets(t, s, [2][]netip.AddrPort{{s[1].place()}, {s[0].place()}}, packet.Crossing{Timeout: 20 * time.Second})
		})
	}
}

// The SYNs of the first second die behind the own router.
func TestRealKernelHostsMeetThroughRoutersThatAnswerWithResets(t *testing.T) {
	strict := natRules{unasked: "reject with tcp reset", snat: "masquerade"}
	s, _ := internet(t, false, [2]natRules{strict, strict})
	meets(t, s, [2][]netip.AddrPort{{s[1].place()}, {s[0].place()}},
		packet.Crossing{Timeout: 20 * time.Second, Hops: 2, Shy: time.Second})
}

func TestRealKernelHostsMeetThroughANATThatCountsItsPorts(t *testing.T) {
	var ports []string
	for i := range 256 {
		ports = append(ports, fmt.Sprintf("%d:%d", i, 40000+i))
	}
	s, core := internet(t, false, [2]natRules{{unasked: "drop",
		snat: "meta l4proto tcp snat ip to 203.0.113.2 : numgen inc mod 256 map { " + strings.Join(ports, ", ") + " }"}, home})
	seed := start(t, core, "seed", "203.0.113.1:9000")
	s[0].node.tell(order{Dial: netip.MustParseAddrPort("203.0.113.1:9000")})
	if line := s[0].node.hears(); !strings.HasPrefix(line, "open ") {
		t.Fatal(line)
	}
	mapped, err := netip.ParseAddrPort(seed.hears())
	if err != nil || mapped.Addr() != s[0].place().Addr() || mapped.Port() == s[0].port {
		t.Fatalf("the seed sees %v, %v", mapped, err)
	}
	var guesses []netip.AddrPort
	for i := range uint16(8) {
		guesses = append(guesses, netip.AddrPortFrom(mapped.Addr(), mapped.Port()+1+i))
	}
	meets(t, s, [2][]netip.AddrPort{{s[1].place()}, guesses}, packet.Crossing{Timeout: 20 * time.Second})
}

// Nobody can foresee the port of the first site; the second answers what it sees.
func TestRealKernelHostBehindARandomNATMeetsOneBehindAnOpenNAT(t *testing.T) {
	random := natRules{unasked: "drop", snat: "masquerade fully-random"}
	for kind, admit := range map[string]string{
		"full cone":          "ct status dnat accept",
		"address-restricted": "ct status dnat ip saddr @spoken accept",
	} {
		t.Run(kind, func(t *testing.T) {
			s, _ := internet(t, false, [2]natRules{random, {unasked: "drop", snat: "masquerade", admit: admit}})
			meets(t, s, [2][]netip.AddrPort{{s[1].place()}, {netip.AddrPortFrom(s[0].place().Addr(), 9)}},
				packet.Crossing{Timeout: 20 * time.Second, Hops: 2, Shy: 250 * time.Millisecond})
		})
	}
}
