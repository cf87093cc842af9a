package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// Nobody can foresee the ports of two random NATs, and what is between them is
// relayed (see TestEachPairTakesTheShortestWayAndNeedsNoSeedForIt); one that maps
// a port on request needs no foresight.
func TestAMappedPortIsTheWayBetweenTwoRandomNATs(t *testing.T) {
	binary := plain(t)
	if _, err := os.Stat(lab.MiniUPnPd); err != nil {
		t.Skip("needs miniupnpd (scripts/deps.sh test installs it)")
	}
	i := newInternet(t, binary, 60*time.Second)
	seed := i.public("seed")
	mapped := i.behind("mapped", lab.RouterConfig{Kind: lab.NATRandom, MapsPorts: true})
	random := i.behind("random", lab.RouterConfig{Kind: lab.NATRandom})
	i.seedAt(seed)
	i.join(random)
	i.join(mapped, "--port-map=true")

	there := i.shows(i.ctx, random, mapped, "udp", at(mapped.router.Public4))
	i.shows(i.ctx, mapped, random, "udp", at(random.router.Public4))
	ports, err := mapped.router.MappedPorts(i.ctx)
	must(t, err)
	_, external, err := net.SplitHostPort(there.Link.Endpoint)
	must(t, err)
	if !strings.HasPrefix(ports[external], mapped.host.IPv4+":") {
		t.Errorf("the path leads to %s; the router maps %q", there.Link.Endpoint, ports)
	}
	i.transfers(mapped, random)

	_, err = mapped.Stop(i.ctx)
	must(t, err)
	must(t, lab.Until(i.ctx, "the mapping is gone", func() error {
		ports, err := mapped.router.MappedPorts(i.ctx)
		if err == nil && len(ports) > 0 {
			err = fmt.Errorf("%q are left", ports)
		}
		return err
	}))
}
