package gossip

import (
	"math/rand/v2"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// crowdOf answers the joiner's questions from what the actor knows.
type crowdOf struct{ g *Gossip }

func (c crowdOf) present(id message.NodeID) bool { return c.g.ledger.There(id) }

func (c crowdOf) living() (out []join) {
	for _, name := range c.g.others() {
		out = append(out, join{id: name.id, place: name.place, member: true})
	}
	return out
}

func (c crowdOf) dead() (out []join) {
	for _, id := range c.g.ledger.IDs() {
		if s, _ := c.g.ledger.Standing(id); s.State == Dead {
			if place, ok := c.g.placeOf(s.Advert.Addresses); ok {
				out = append(out, join{id: id, place: place})
			}
		}
	}
	return out
}

func (crowdOf) pick(n int) int { return rand.IntN(n) }
