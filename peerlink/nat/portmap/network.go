package portmap

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"time"
)

// network is all that the mapper needs of the outside. Its methods are called on
// the mapper's goroutine.
type network interface {
	// Gateway returns the router to ask; errNoGateway if there is none.
	Gateway() (Gateway, error)
	// Speakers asks the router what it speaks and yields what answered, in the
	// order of preference, or why that protocol cannot be used. The next protocol
	// is waited for only when the loop goes on.
	Speakers(ctx context.Context, gw Gateway) iter.Seq2[speaker, error]
	// Watch calls heard, on any goroutine, when the router should be looked at
	// again. When ctx has ended, wait returns as soon as heard is called no more.
	Watch(ctx context.Context, heard func(event)) (wait func(), err error)
}

// speaker asks one router for ports in one protocol.
type speaker interface {
	Protocol() Protocol
	// Map opens a port, or renews it. external is what one would like to have.
	Map(ctx context.Context, p Port, external netip.AddrPort) (grant, error)
	// Unmap closes what was granted.
	Unmap(ctx context.Context, p Port, g grant) error
}

// grant is what a router gave.
type grant struct {
	external netip.AddrPort
	lifetime time.Duration
	timed    bool   // epoch is known
	epoch    uint32 // seconds since the router knows its mappings
}

// event is a reason to look at the router again.
type event struct {
	// from is the router that announces, unasked, that it has started. The zero
	// Addr: routes or addresses of this host changed.
	from netip.Addr
}

// Gateway is the router behind which this host is. It is comparable.
type Gateway struct {
	Address   netip.Addr // IPv4
	Source    netip.Addr // this host's address toward it
	Interface string
	Index     int
}

var (
	errNoGateway = errors.New("there is no IPv4 default route with a router")
	errSilent    = errors.New("no answer")
)
