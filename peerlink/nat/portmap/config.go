package portmap

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config says which ports are wanted. Only Ports and Published must be given.
type Config struct {
	Ports     []Port     // to be opened; the same port is suggested outside
	Published *Published // where the results go
	// Changed, if not nil, is called on the mapper's goroutine whenever an address,
	// the router or the problem changed. It must not block.
	Changed func()
	// Name is how the router's list shows the mappings (UPnP only); default
	// "lightweight-tunnel".
	Name string
	// Lifetime of a mapping; the router may give less. Default: 20 minutes.
	Lifetime time.Duration
	// ExcludeInterfaces are names of interfaces behind which there is no router to
	// ask: our own TUN device.
	ExcludeInterfaces []string
	// Secret, if not nil, is anything that outlives a restart of the process and
	// that nobody else knows. With it a node that was killed is recognized by a PCP
	// router as the owner of its old mappings. It is not sent, nor kept in clear.
	Secret []byte
	// Protocols to try, in this order; default PCP, NATPMP, UPnP.
	Protocols []Protocol
	Log       hclog.Logger
}

// complete checks c and fills in what has a default.
func (c *Config) complete() error {
	if c.Published == nil {
		return errors.New("port mapping: no place for the results")
	}
	if len(c.Ports) == 0 {
		return errors.New("port mapping: no port to open")
	}
	for i, p := range c.Ports {
		if p.Number == 0 || p.Network != UDP && p.Network != TCP || slices.Contains(c.Ports[:i], p) {
			return fmt.Errorf("port mapping: port %s %d: want tcp or udp, 1 to 65535, each once", p.Network, p.Number)
		}
	}
	if c.Lifetime < 0 || c.Lifetime > 0 && c.Lifetime < time.Second {
		return fmt.Errorf("port mapping: lifetime %v: want a second at least", c.Lifetime)
	}
	if c.Lifetime == 0 {
		c.Lifetime = 20 * time.Minute
	}
	for _, p := range c.Protocols {
		if p != PCP && p != NATPMP && p != UPnP {
			return fmt.Errorf("port mapping: protocol %q: want %s, %s or %s", p, PCP, NATPMP, UPnP)
		}
	}
	if len(c.Protocols) == 0 {
		c.Protocols = []Protocol{PCP, NATPMP, UPnP}
	}
	if c.Name == "" {
		c.Name = "lightweight-tunnel"
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return nil
}

// seconds is the lifetime as it is sent.
func (c *Config) seconds() uint32 { return uint32(min(c.Lifetime/time.Second, 1<<31)) }
