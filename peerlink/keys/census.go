package keys

import (
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// presence is how long a node counts as present after its last handshake.
// Sessions are renewed every two minutes, so this is two that failed.
const presence = 5 * time.Minute

// Census counts the nodes that have a link to this one now, for -max-clients.
// The roster does not do for that: it remembers nodes that are long gone. Its
// zero value is empty and usable; it belongs to one goroutine.
type Census struct{ last map[message.NodeID]time.Time }

// Admit notes a handshake with the node named id and returns "", or the reason
// why most (0: no limit) other nodes are enough.
func (c *Census) Admit(now time.Time, id message.NodeID, most int) string {
	if c.last == nil {
		c.last = make(map[message.NodeID]time.Time)
	}
	for other, t := range c.last {
		if now.Sub(t) > presence {
			delete(c.last, other)
		}
	}
	if _, present := c.last[id]; !present && most > 0 && len(c.last) >= most {
		return fmt.Sprintf("mesh full: this node takes %d others at most and has them; raise --max-clients there, or join through another node", most)
	}
	c.last[id] = now
	return ""
}
