package actors

import (
	"fmt"
	"strings"
)

// Spec tells a [Supervisor] how to make one child.
type Spec struct {
	// Name is unique among the children of one supervisor. It may contain
	// slashes ("link/3f"), but neither begin nor end with one.
	Name string
	// New makes the actor, at the first start and again for every restart. It
	// runs on the child's goroutine; a panic in it is the child's failure.
	New func() Actor
	// Permanent says that the child has no reason to end by itself: a return of
	// nil is a failure too.
	Permanent bool
	// Mailbox, if set, is shown in [Supervisor.Tree]. It is read from any
	// goroutine and outlives the actor.
	Mailbox Gauge
}

// Gauge is what can be observed of a mailbox; every [Mailbox] is one. All
// methods may be called by any goroutine.
type Gauge interface {
	Depth() int
	Capacity() int
	Dropped() uint64
}

func (s Spec) check() error {
	switch {
	case s.Name == "" || strings.HasPrefix(s.Name, "/") || strings.HasSuffix(s.Name, "/"):
		return fmt.Errorf("actor name %q: want a name that neither begins nor ends with a slash", s.Name)
	case s.New == nil:
		return fmt.Errorf("actor %s: its spec lacks New", s.Name)
	}
	return nil
}
