package gossip

import "github.com/openbmx/lightweight-tunnel/actors/message"

// outbox remembers what one other actor was told of each node, and what it is
// still owed because its mailbox was full. What is owed is always the newest
// state, never a queue of old ones, so a slow receiver costs no memory.
type outbox struct {
	told map[message.NodeID]told
	owed map[message.NodeID]struct{}
	// tell offers the news about a node and says whether that is settled. s is
	// the zero Standing for a node that is unknown now.
	tell func(id message.NodeID, s Standing, was told) (told, bool)
}

// told is what the receiver believes of a node. The zero told: it never heard of it.
type told struct {
	seq  uint64
	here bool
}

func newOutbox(tell func(message.NodeID, Standing, told) (told, bool)) *outbox {
	return &outbox{told: make(map[message.NodeID]told), owed: make(map[message.NodeID]struct{}), tell: tell}
}

// owe notes that something changed about a node.
func (o *outbox) owe(id message.NodeID) { o.owed[id] = struct{}{} }

// restart notes that the receiver began anew and knows nothing.
func (o *outbox) restart(all []message.NodeID) {
	clear(o.told)
	for _, id := range all {
		o.owe(id)
	}
}

// settle tells what is owed and reports whether everything is settled.
func (o *outbox) settle(standing func(message.NodeID) Standing) bool {
	for id := range o.owed {
		now, ok := o.tell(id, standing(id), o.told[id])
		if !ok {
			return false // its mailbox is full: the others would not fit either
		}
		delete(o.owed, id)
		if now == (told{}) {
			delete(o.told, id)
		} else {
			o.told[id] = now
		}
	}
	return true
}
