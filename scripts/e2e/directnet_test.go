package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// internet is a mesh whose sites are behind routers of chosen kinds. Its first
// public host is the seed, which the test starts; the overlay's numbers go up in
// the order in which places are made.
type internet struct {
	*mesh
	net    *lab.Internet
	seeds  []string // --seed of every place
	number int      // the last one given away
}

// place is a host of an internet, with its node.
type place struct {
	*lab.Node
	host   *lab.Host
	router *lab.NATRouter // nil: a public host
	name   string
	number int
}

func newInternet(t *testing.T, binary string, atMost time.Duration) *internet {
	t.Helper()
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	t.Cleanup(cancel)
	n, err := l.NewInternet(ctx, lab.InternetConfig{})
	must(t, err)
	return &internet{net: n, mesh: &mesh{Star: &lab.Star{}, t: t, ctx: ctx, lab: l, binary: binary, keyFile: filepath.Join(l.Dir(), "key")}}
}

// public is a host with public addresses; routers are made after it.
func (i *internet) public(name string) *place {
	i.t.Helper()
	host, err := i.net.Host(i.ctx, name)
	must(i.t, err)
	if i.Server == nil {
		i.Server = host.Namespace
		i.newKey(i.keyFile)
	}
	return i.place(name, host, nil)
}

// behind is a host behind a new router.
func (i *internet) behind(name string, config lab.RouterConfig) *place {
	i.t.Helper()
	router, err := i.net.Router(i.ctx, name+"-router", config)
	must(i.t, err)
	return i.beside(name, router)
}

// beside is one more host behind a router.
func (i *internet) beside(name string, router *lab.NATRouter) *place {
	i.t.Helper()
	host, err := router.Host(i.ctx, name)
	must(i.t, err)
	return i.place(name, host, router)
}

func (i *internet) place(name string, host *lab.Host, router *lab.NATRouter) *place {
	i.number++
	return &place{host: host, router: router, name: name, number: i.number}
}

func (p *place) address() string { return ip4(p.number) }

// seedAt starts the node of a public host at which the others join; they do so
// through each that was started before them.
func (i *internet) seedAt(p *place, args ...string) {
	i.t.Helper()
	i.join(p, append([]string{"--listen", ":9000"}, args...)...)
	i.seeds = append(i.seeds, p.host.IPv4+":9000")
}

// join starts a node.
func (i *internet) join(p *place, args ...string) {
	i.t.Helper()
	p.Node = i.start(p.host.Namespace, p.name, lab.NodeConfig{Args: i.joinArgs(p, args...)})
}

// again starts the node of a place once more, with its old state.
func (i *internet) again(p *place, args ...string) {
	i.t.Helper()
	p.Node = i.start(p.host.Namespace, p.name+"-again", lab.NodeConfig{StateDir: p.StateDir, Args: i.joinArgs(p, args...)})
}

func (i *internet) joinArgs(p *place, more ...string) []string {
	// Nobody in the lab would answer elsewhere, and routers that map ports have a
	// lab of their own.
	all := i.args(p.name, p.number, "--stun", "none", "--port-map=false")
	for _, seed := range i.seeds {
		all = append(all, "--seed", seed)
	}
	return append(all, more...)
}

// link is what a place shows of its link to another.
func (i *internet) link(from, to *place) (lab.Peer, error) {
	peers, err := from.Peers(i.ctx)
	if err != nil {
		return lab.Peer{}, err
	}
	if n := slices.IndexFunc(peers.Peers, func(p lab.Peer) bool { return p.Name == to.name }); n >= 0 {
		return peers.Peers[n], nil
	}
	return lab.Peer{}, fmt.Errorf("%s does not know %s", from.name, to.name)
}

// shows waits until a place shows for another a path of one of the kinds (udp,
// rawtcp, relay) that the rest of the check likes.
func (i *internet) shows(ctx context.Context, from, to *place, kinds string, check ...func(lab.Peer) error) lab.Peer {
	i.t.Helper()
	var p lab.Peer
	must(i.t, lab.Until(ctx, fmt.Sprintf("%s has a path to %s by %s", from.name, to.name, kinds), func() (err error) {
		if p, err = i.link(from, to); err != nil {
			return err
		}
		if p.Link.State != "up" || !slices.Contains(strings.Fields(kinds), p.Link.Path) {
			return fmt.Errorf("it shows %+v", p.Link)
		}
		for _, c := range check {
			if err := c(p); err != nil {
				return fmt.Errorf("%w: it shows %+v", err, p.Link)
			}
		}
		return nil
	}))
	return p
}

// direct waits until both of two places show a direct path, and returns which.
func (i *internet) direct(ctx context.Context, a, b *place) (ab, ba lab.Peer) {
	i.t.Helper()
	return i.shows(ctx, a, b, "udp rawtcp"), i.shows(ctx, b, a, "udp rawtcp")
}

// relayed waits until both of two places show a relay.
func (i *internet) relayed(ctx context.Context, a, b *place) {
	i.t.Helper()
	i.shows(ctx, a, b, "relay")
	i.shows(ctx, b, a, "relay")
}

// at wants an endpoint of the address; relays have it of the relay.
func at(address string) func(lab.Peer) error {
	return func(p lab.Peer) error {
		if !strings.HasPrefix(p.Link.Endpoint, address+":") && !strings.HasPrefix(p.Link.Endpoint, "["+address+"]:") {
			return fmt.Errorf("the endpoint is not %s", address)
		}
		return nil
	}
}

// via wants a relay by its name.
func via(relay *place) func(lab.Peer) error {
	return func(p lab.Peer) error {
		if p.Link.Via != relay.name {
			return fmt.Errorf("it is not by way of %s", relay.name)
		}
		return nil
	}
}

// elsewhere wants another relay.
func elsewhere(relay *place) func(lab.Peer) error {
	return func(p lab.Peer) error {
		if p.Link.Via == relay.name {
			return fmt.Errorf("it is by way of %s", relay.name)
		}
		return nil
	}
}

// transfers sends verified data both ways.
func (i *internet) transfers(a, b *place) {
	i.t.Helper()
	for _, way := range [][2]*place{{a, b}, {b, a}} {
		_, err := lab.Transfer(i.ctx, way[0].host.Namespace, way[1].host.Namespace, way[1].address(), 1<<20)
		must(i.t, err)
	}
}

// cut has the providers drop what two routers send to each other, be it UDP or TCP.
func (i *internet) cut(a, b *place) {
	i.t.Helper()
	must(i.t, i.net.Core.Firewall(i.ctx, fmt.Sprintf(`
table inet cut {
	set ends4 { type ipv4_addr; elements = { %s, %s }; }
	chain forward {
		type filter hook forward priority -10; policy accept;
		ip saddr @ends4 ip daddr @ends4 drop
	}
}`, a.router.Public4, b.router.Public4)))
}

func (i *internet) uncut() {
	i.t.Helper()
	_, err := i.net.Core.Shell(i.ctx, "nft delete table inet cut")
	must(i.t, err)
}

// stream is a paced UDP stream from one place to another.
func (i *internet) stream(from, to *place, perSecond float64) *lab.Stream {
	i.t.Helper()
	s, err := lab.StartStream(i.ctx, from.host.Namespace, to.host.Namespace, to.address(), perSecond, 200)
	must(i.t, err)
	i.t.Cleanup(func() { s.Stop(0) })
	return s
}

// passes waits until so many datagrams sent from now on have arrived.
func (i *internet) passes(s *lab.Stream, datagrams int) {
	i.t.Helper()
	from := time.Now()
	must(i.t, lab.Until(i.ctx, fmt.Sprintf("%d datagrams arrive", datagrams), func() error {
		if n := s.ArrivedOf(from); n < datagrams {
			return fmt.Errorf("so far %d", n)
		}
		return nil
	}))
}

// lasts lets a time pass in which nothing is done.
func (i *internet) lasts(d time.Duration) {
	i.t.Helper()
	end := time.Now().Add(d)
	must(i.t, lab.Until(i.ctx, d.String()+" pass", func() error {
		if time.Now().Before(end) {
			return errors.New("not yet")
		}
		return nil
	}))
}

// renumber gives the outside of a place's router, which masquerades, another
// address of the same network. The old one is not the router's any more.
func (i *internet) renumber(p *place) {
	i.t.Helper()
	old := netip.MustParseAddr(p.router.Public4)
	next := old.Next()
	_, err := p.router.Shell(i.ctx, fmt.Sprintf(`
default=$(ip -4 route show default)
ip addr del %s/24 dev wan0
ip addr add %s/24 dev wan0
ip route replace $default
conntrack -F`, old, next))
	must(i.t, err)
	p.router.Public4 = next.String()
}
