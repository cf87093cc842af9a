package rawtcp

import (
	"context"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

func contextWithEnd(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// pass lets virtual time go by: for synctest bubbles only.
func pass(d time.Duration) { <-time.After(d) }

// discard is a wire that swallows what is sent, and hands out the same packets
// again and again.
type discard struct{ wire }

func (discard) send(hop, *packet.Train, int, int) error { return nil }
func (discard) sendPacket(hop, []byte) error            { return nil }

type replay struct {
	discard
	packets []link.Packet
}

func (r *replay) receive() ([]link.Packet, error) { return r.packets, nil }
