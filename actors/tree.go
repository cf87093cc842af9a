package actors

import "time"

// Info is what can be seen of one actor at one moment. It is a copy and belongs
// to the caller.
type Info struct {
	Name      string // as in its Spec, not the full name
	State     State
	Since     time.Time // when it entered State
	Restarts  int
	LastError error // of the last failure, nil if it never failed
	// Depth, Capacity and Dropped are those of Spec.Mailbox, zero without one.
	Depth    int
	Capacity int
	Dropped  uint64
	Children []Info // of a supervisor, in the order of their start
}

// State is a station in the life of an actor.
type State uint8

const (
	// StateStarting: it is about to run.
	StateStarting State = iota
	// StateRunning: it runs.
	StateRunning
	// StateBackoff: it failed and waits for its restart.
	StateBackoff
	// StateStopped: it finished or was stopped.
	StateStopped
	// StateFailed: it failed for good.
	StateFailed
)

func (s State) String() string {
	switch s {
	case StateStarting:
		return "starting"
	case StateRunning:
		return "running"
	case StateBackoff:
		return "backoff"
	case StateStopped:
		return "stopped"
	case StateFailed:
		return "failed"
	}
	return "unknown"
}

// Tree returns a snapshot of the supervisor and of all actors below. It may be
// called by any goroutine at any time and waits for none of them.
func (s *Supervisor) Tree() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := Info{Name: s.name, State: s.state, Since: s.since, LastError: s.failure}
	for _, c := range s.children {
		info.Children = append(info.Children, c.info())
	}
	return info
}

// info is called with the mutex of the child's supervisor held. It takes those
// further down, never one further up, so that no two wait for each other.
func (c *child) info() Info {
	info := Info{Name: c.spec.Name, State: c.state, Since: c.since, Restarts: c.restarts, LastError: c.lastErr}
	if sub, ok := c.actor.(*Supervisor); ok {
		info.Children = sub.Tree().Children
	}
	if c.spec.Mailbox != nil {
		info.Depth, info.Capacity, info.Dropped = c.spec.Mailbox.Depth(), c.spec.Mailbox.Capacity(), c.spec.Mailbox.Dropped()
	}
	return info
}
