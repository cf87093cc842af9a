// Package guard keeps the kernel's own TCP away from the ports on which we
// speak TCP ourselves: without it the kernel would answer every segment of a
// connection it does not know with a reset.
package guard

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
)

// Mode names a way to drop packets.
type Mode string

// The modes. Auto takes the best one that works here.
const (
	Auto     Mode = "auto"
	TCX      Mode = "tcx"
	NFT      Mode = "nft"
	IPTables Mode = "iptables"
)

// Options say how a [Guard] works.
type Options struct {
	Log  hclog.Logger // nil: none
	Mode Mode         // "": Auto
	XDP  bool         // eBPF may be used at all
	// Owner tells the guards of several nodes on one host apart: the name of the
	// TUN interface, say. Rules that a killed process of the same owner left
	// behind are removed at the start.
	Owner string
	// Exclude are interfaces that are never guarded: our own TUN device.
	Exclude []string
}

// Guard drops incoming TCP packets for a set of local ports after the packet
// taps took their copy and before the kernel's TCP sees them.
type Guard struct{ log hclog.Logger }

// New finds the best way that works here, in the network namespace of the
// calling thread, and installs it with an empty set of ports.
func New(opts Options) (*Guard, error) { return nil, errors.ErrUnsupported }

// Set replaces the ports. It may be called at any time, by any goroutine.
func (g *Guard) Set(ports []uint16) error { return errors.ErrUnsupported }

// AttachInterface guards one more interface; a second time does nothing.
func (g *Guard) AttachInterface(ifindex int) error { return errors.ErrUnsupported }

// Run guards interfaces as they appear, until ctx ends. It returns nil then.
func (g *Guard) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Name is the way in use: "tcx", "tc", "nft netdev" or "iptables".
func (g *Guard) Name() string { return "" }

// Reasons says, for each better way, why it is not in use.
func (g *Guard) Reasons() []string { return nil }

// Close removes everything that New and later calls installed.
func (g *Guard) Close() error { return nil }
