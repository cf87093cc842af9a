package e2e

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// A mesh of many kinds of sites: each pair takes the shortest way that its
// routers allow, and what is direct does not need the seed any more.
func TestEachPairTakesTheShortestWayAndNeedsNoSeedForIt(t *testing.T) {
	i := newInternet(t, plain(t), 80*time.Second)
	seed, third := i.public("seed"), i.public("third")
	cone := i.behind("cone", home)
	beside := i.beside("beside", cone.router)
	blocked := i.behind("blocked", lab.RouterConfig{Kind: lab.NATPortRestricted, UDP: lab.UDPBlocked})
	random1 := i.behind("random1", lab.RouterConfig{Kind: lab.NATRandom})
	random2 := i.behind("random2", lab.RouterConfig{Kind: lab.NATRandom})
	i.seedAt(seed)
	sites := []*place{cone, beside, blocked, random1, random2}
	for _, p := range sites {
		i.join(p)
	}

	// One router before both: they are neighbours.
	i.shows(i.ctx, cone, beside, "udp rawtcp", at(beside.host.IPv4))
	i.shows(i.ctx, beside, cone, "udp rawtcp", at(cone.host.IPv4))
	// A router that lets no UDP pass.
	i.shows(i.ctx, cone, blocked, "rawtcp", at(blocked.router.Public4))
	i.shows(i.ctx, blocked, cone, "rawtcp", at(cone.router.Public4))
	// Nobody can foresee two random ports, and the user is told so.
	const why = `both NATs symmetric|NAT here: symmetric, there: symmetric`
	says := func(p lab.Peer) error {
		if text := p.Link.WhyNotDirect; !regexp.MustCompile(why).MatchString(text) || !regexp.MustCompile(`\d (try|tries), next in \d`).MatchString(text) {
			return errors.New("it does not say why in words and numbers")
		}
		return nil
	}
	i.shows(i.ctx, random1, random2, "relay", says)
	told := i.shows(i.ctx, random2, random1, "relay", says).Link.WhyNotDirect
	t.Logf("random1 at random2: %s", told)
	table, err := random2.Ask(i.ctx, "peers")
	must(t, err)
	if !regexp.MustCompile(`(?m)^random1 .*relay via .*(` + why + `)`).MatchString(table) {
		t.Errorf("the table does not say why random1 is not direct:\n%s", table)
	}
	i.transfers(cone, blocked)
	i.transfers(random1, random2)

	// A public host is reached by all.
	i.join(third, "--listen", ":9000")
	for _, p := range sites {
		i.shows(i.ctx, p, third, "udp rawtcp", at(third.host.IPv4))
		i.shows(i.ctx, third, p, "udp rawtcp", at(p.router.Public4))
	}

	// What is direct goes on without the seed, and what is not goes through
	// another node.
	direct, relayed := i.stream(cone, blocked, 100), i.stream(random1, random2, 50)
	i.passes(direct, 50)
	i.passes(relayed, 50)
	must(t, seed.Kill())
	killed := time.Now()
	i.passes(direct, 100)
	i.passes(relayed, 50)
	i.shows(i.ctx, random1, random2, "relay", elsewhere(seed))
	i.shows(i.ctx, random2, random1, "relay", elsewhere(seed))
	i.transfers(cone, beside)
	if r := direct.Stop(time.Second).Between(killed, time.Now()); r.Lost() > 0 {
		t.Errorf("%.2f %% of %d datagrams on a direct path were lost with the seed", 100*r.Lost(), len(r.Packets))
	}
}

func TestARelaysDeathMovesItsPairsToAnother(t *testing.T) {
	i := newInternet(t, plain(t), 60*time.Second)
	seed, third := i.public("seed"), i.public("third")
	random1 := i.behind("random1", lab.RouterConfig{Kind: lab.NATRandom})
	random2 := i.behind("random2", lab.RouterConfig{Kind: lab.NATRandom})
	i.seedAt(seed)
	i.join(random1)
	i.join(random2)
	i.relayed(i.ctx, random1, random2)
	i.join(third, "--listen", ":9000")
	for _, p := range []*place{random1, random2} {
		i.shows(i.ctx, p, third, "udp rawtcp")
		i.shows(i.ctx, third, p, "udp rawtcp")
	}
	there, back := i.stream(random1, random2, 100), i.stream(random2, random1, 100)
	i.passes(there, 100)
	i.passes(back, 100)
	relay, other := seed, third
	if p := i.shows(i.ctx, random1, random2, "relay"); p.Link.Via == third.name {
		relay, other = third, seed
	}
	_, err := relay.host.Shell(i.ctx, "ip link set wan0 down") // nobody says goodbye
	must(t, err)
	killed := time.Now()
	i.passes(there, 100)
	i.passes(back, 100)
	for name, s := range map[string]*lab.Stream{"there": there, "back": back} {
		first, _ := s.FirstArrivalOf(killed)
		took := first.Sub(killed.Round(0))
		t.Logf("%s, %s died: by way of %s after %s", name, relay.name, other.name, took.Round(10*time.Millisecond))
		if took > 8*time.Second {
			t.Errorf("%s: it took %s until the other relay was used", name, took)
		}
	}
	i.shows(i.ctx, random1, random2, "relay", via(other))
	i.shows(i.ctx, random2, random1, "relay", via(other))
}

func TestIPv6IsAWayWhereIPv4IsNone(t *testing.T) {
	i := newInternet(t, plain(t), 60*time.Second)
	seed := i.public("seed")
	both := i.behind("both", lab.RouterConfig{Kind: lab.NATRandom, Families: lab.BothFamilies})
	only := i.behind("only", lab.RouterConfig{Kind: lab.NATPortRestricted, Families: lab.OnlyIPv6})
	i.seedAt(seed)
	i.seeds = append(i.seeds, "["+seed.host.IPv6+"]:9000")
	i.join(both)
	i.join(only)
	i.shows(i.ctx, both, only, "udp rawtcp", at(only.host.IPv6))
	i.shows(i.ctx, only, both, "udp rawtcp", at(both.host.IPv6))
	i.transfers(both, only)
}

func TestWhatTheUserForbidsIsNotTried(t *testing.T) {
	i := newInternet(t, plain(t), 60*time.Second)
	seed, second := i.public("seed"), i.public("second")
	any := i.behind("any", home)
	tcp, udp, relay := i.behind("tcp", home), i.behind("udp", home), i.behind("relay", home)
	quiet := i.behind("quiet", lab.RouterConfig{Kind: lab.NATRandom})
	i.seedAt(seed)
	i.seedAt(second)
	i.join(any)
	i.join(tcp, "--transport", "rawtcp")
	i.join(udp, "--transport", "udp")
	i.join(relay, "-p2p=false")
	i.join(quiet, "-nat-detection=false")

	i.shows(i.ctx, any, tcp, "rawtcp", at(tcp.router.Public4))
	i.shows(i.ctx, any, udp, "udp", at(udp.router.Public4))
	i.shows(i.ctx, tcp, any, "rawtcp", at(any.router.Public4))
	i.shows(i.ctx, udp, any, "udp", at(any.router.Public4))
	i.shows(i.ctx, udp, seed, "udp")
	i.shows(i.ctx, tcp, seed, "rawtcp")
	i.shows(i.ctx, tcp, udp, "relay")
	i.shows(i.ctx, relay, any, "relay", says("switched off"))
	i.shows(i.ctx, any, relay, "relay", says("switched off"))
	i.shows(i.ctx, quiet, any, "relay", says("next in"))
	i.shows(i.ctx, any, quiet, "relay", says("next in"))
	for _, p := range []*place{relay, tcp, quiet} {
		traffic, err := p.router.Traffic(i.ctx)
		must(t, err)
		t.Logf("%s: %+v", p.name, traffic)
		if p != quiet && traffic.UDPOut > 0 {
			t.Errorf("%s sent %d UDP packets to others than the seeds", p.name, traffic.UDPOut)
		}
		if p == relay && traffic.TCPOut > 0 {
			t.Errorf("%s sent %d TCP packets to others than the seeds", p.name, traffic.TCPOut)
		}
		if p == quiet && traffic.UDPOut > 200 {
			t.Errorf("%s searched a port with %d UDP packets", p.name, traffic.UDPOut)
		}
	}
}

// says wants a reason why the path is not direct.
func says(why string) func(lab.Peer) error {
	return func(p lab.Peer) error {
		if !strings.Contains(p.Link.WhyNotDirect, why) {
			return errors.New("it does not say: " + why)
		}
		return nil
	}
}

func TestPingShowsThePathAsItChanges(t *testing.T) {
	i, _, a, b := twoHomes(t)
	i.cut(a, b)
	i.join(a)
	i.join(b)
	i.relayed(i.ctx, a, b)
	ping, err := a.host.Start(lab.Command{Path: i.binary, Args: []string{"node", "ping", "b", "-c", "1000", "--state-dir", a.StateDir}})
	must(t, err)
	must(t, ping.Says(i.ctx, "relay via seed"))
	i.uncut()
	must(t, ping.Says(i.ctx, "path changed: relay via seed -> "))
	must(t, ping.Says(i.ctx, b.router.Public4+":"))
	must(t, ping.Kill())
}
