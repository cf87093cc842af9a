package nat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
)

// names turns HOST:PORT of public servers into addresses, outside the actor's
// goroutine and only when they are needed.
type names struct {
	servers []string
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	known   []Server
	problem string
	wanted  bool
	running bool
	at      time.Time // of the last lookup
}

const (
	// namesValid is how long a lookup is good for; one that failed is tried again
	// after namesRetry.
	namesValid = 10 * time.Minute
	namesRetry = 30 * time.Second
	// lookupTimeout bounds the lookup of one name.
	lookupTimeout = 3 * time.Second
)

// resolved brings the result of a lookup.
type resolved struct {
	servers []Server
	problem string
}

func (resolved) toProber() {}

// get returns the public servers, or false if they must be looked up first.
func (n *names) get(now time.Time) ([]Server, bool) {
	valid := namesValid
	if n.problem != "" {
		valid = namesRetry
	}
	if len(n.servers) == 0 || !n.at.IsZero() && now.Sub(n.at) < valid {
		return n.known, true
	}
	n.wanted = true
	return nil, false
}

// look begins a lookup if one is wanted. Its result comes through box.
func (n *names) look(ctx context.Context, running *sync.WaitGroup, box actors.Ref[ToProber]) {
	if !n.wanted || n.running {
		return
	}
	n.running = true
	running.Go(func() {
		r := resolved{}
		for _, s := range n.servers {
			host, port, err := splitServer(s)
			if err != nil {
				r.problem = err.Error()
				continue
			}
			limited, cancel := context.WithTimeout(ctx, lookupTimeout)
			addresses, err := n.resolve(limited, host)
			cancel()
			if err != nil {
				r.problem = fmt.Sprintf("STUN server %s cannot be resolved: %v", s, err)
				continue
			}
			for _, a := range addresses {
				r.servers = append(r.servers, Server{Name: s, Addr: netip.AddrPortFrom(a.Unmap(), port)})
			}
		}
		_ = box.Send(ctx, r) // fails only if the prober ends
	})
}

func (n *names) take(now time.Time, r resolved) {
	n.known, n.problem, n.at = r.servers, r.problem, now
	n.wanted, n.running = false, false
}

// splitServer says what is wrong with a server's HOST:PORT, if anything.
func splitServer(s string) (string, uint16, error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("STUN server %q: want HOST:PORT: %w", s, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || host == "" {
		return "", 0, fmt.Errorf("STUN server %q: want HOST:PORT with a port from 1 to 65535", s)
	}
	return host, uint16(port), nil
}
