package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/udp"
)

// outside is what the internet shows of this host, and of the seeds.
type outside struct {
	offload offload
	seeds   []seed
	nat     natted
}

const (
	// lookupTime bounds the lookup of names, askTime the wait for the first answers.
	lookupTime = 2 * time.Second
	askTime    = 1500 * time.Millisecond
)

// lookOutside asks seeds and public servers over one UDP socket, then the ones
// that answered about the NAT.
func lookOutside(ctx context.Context, cfg Config) (o outside) {
	o.seeds = make([]seed, len(cfg.Seeds))
	for i, name := range cfg.Seeds {
		o.seeds[i] = seed{name: name, keyed: cfg.MeshKey != nil}
	}
	o.nat.public = len(cfg.STUN) > 0
	o.nat.seeds = len(cfg.Seeds) > 0 && cfg.MeshKey != nil
	transport, err := udp.New(udp.Config{Log: cfg.Log})
	if err != nil {
		o.offload.err = err
		for i := range o.seeds {
			o.seeds[i].udpErr = err
		}
		o.nat.err = err
		return o
	}
	status := transport.Status()
	o.offload = offload{send: status.Send, receive: status.Receive}
	a := newAsker(transport, cfg.MeshKey)
	defer a.close()

	var asked sync.WaitGroup
	servers := make([]public, len(cfg.STUN))
	for i, name := range cfg.STUN {
		asked.Go(func() { servers[i] = a.askPublic(ctx, name) })
	}
	for i := range o.seeds {
		asked.Go(func() { o.seeds[i].find(ctx, a) })
	}
	asked.Wait()
	var more sync.WaitGroup
	for i := range o.seeds {
		s := &o.seeds[i]
		if s.udp.Addr.IsValid() {
			o.nat.servers = append(o.nat.servers, s.server())
			more.Go(func() { s.packet = a.largest(ctx, s.udp.Addr) })
		}
	}
	for _, s := range servers { // behind the seeds, of which more can be asked
		o.nat.take(s)
	}
	more.Go(func() { o.nat.survey(ctx, a, cfg.Log) })
	more.Wait()
	return o
}

// lookup resolves HOST:PORT.
func lookup(ctx context.Context, name string) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	host, text, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", text, err)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	var all []netip.AddrPort
	for _, a := range found {
		all = append(all, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return all, err
}

// offload is how the kernel helps with UDP.
type offload struct {
	send, receive string
	err           error
}

func (o offload) judge() Check {
	c := Check{Name: "udp", Verdict: OK, Found: fmt.Sprintf("bursts leave by %s and arrive by %s", o.send, o.receive)}
	switch {
	case o.err != nil:
		c.Verdict, c.Found = Warn, fmt.Sprintf("no UDP here: %v", o.err)
		c.Fix = "without it nodes use fake TCP alone"
	case o.send != udp.ModeGSO || o.receive != udp.ModeGRO:
		c.Verdict = Warn
		c.Fix = "Linux 5.0 and later segment and merge UDP in the kernel (UDP_SEGMENT, UDP_GRO), which costs far less CPU time"
	}
	return c
}
