// Package control is how the command line talks to the node that runs here:
// HTTP with JSON over a unix socket that only root may open.
//
//	GET  /v1/peers                     PeersView
//	GET  /v1/status                    StatusView
//	GET  /v1/routes                    RoutesView
//	POST /v1/ping   {"peer","count"}   PingReply per line, as they come
//	POST /v1/join   {"seed"}           nothing
//	POST /v1/leave                     nothing
//	POST /v1/fail   {"actor"}          nothing (for tests of healing)
//
// What goes wrong comes back as {"error": "..."} with a status of 4xx or 5xx.
package control

import (
	"context"
	"errors"
)

// ErrNotFound is what a [Source] wraps when a peer or actor of that name is not there.
var ErrNotFound = errors.New("not found")

// Source is the node as the control socket sees it. All methods may be called
// by several goroutines at once. Views are snapshots that the caller owns.
type Source interface {
	Peers() PeersView
	Status() StatusView
	Routes() RoutesView
	// Ping sends count pings to the peer of this name, id or address, and calls
	// emit for each answer or loss, in order, from the calling goroutine. It ends
	// early when ctx does. An error before the first emit wraps ErrNotFound if
	// there is no such peer.
	Ping(ctx context.Context, peer string, count int, emit func(PingReply)) error
	// Join connects through one more seed. It returns when the seed is taken
	// over, not when the connection stands.
	Join(ctx context.Context, hostport string) error
	// Leave tells the mesh and makes the node stop after this call has returned.
	Leave(ctx context.Context) error
	// Fail makes the actor of this name panic, for tests of healing.
	Fail(actor string) error
}
