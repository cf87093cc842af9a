package rawtcp

import (
	"errors"
	"net"
	"time"
)

// remove forgets a flow and gives back its port.
func (c *control) remove(f *Flow, why error) {
	if f.phase.Swap(phaseGone) == phaseOpen {
		f.changed()
	}
	if c.flows[f.tuple] == f {
		delete(c.flows, f.tuple)
		c.dirty = true
	}
	if f.unwatch != nil {
		f.unwatch()
	}
	c.giveBack(f)
	if f.cross != nil {
		c.missed(f, why)
	}
	if f.dial != nil {
		if why == nil {
			why = net.ErrClosed
		}
		f.dial.answer(nil, why)
	}
}

// giveBack gives back the port of f, if it has one.
func (c *control) giveBack(f *Flow) {
	port := f.port
	f.port = nil
	switch h, shared := port.(*holding); {
	case port == nil:
	case shared:
		h.flows--
		c.letGo(h)
	default:
		_ = c.setPorts()
		if err := port.Close(); err != nil {
			c.t.log.Warn("giving back a local port", "path", f, "reason", err)
		}
	}
}

// drain closes all flows and serves them until they are gone or time is up.
func (c *control) drain(limit time.Duration) {
	now := c.t.now()
	for _, f := range c.flows {
		c.step(now, f, event{kind: shut})
	}
	c.publish()
	end := time.NewTimer(limit)
	defer end.Stop()
	for c.talking() {
		select {
		case <-end.C:
			return
		case m := <-c.t.inbox.C():
			if m.dial != nil || m.cross != nil || m.hold != nil {
				m.refuse()
				continue
			}
			c.handle(&m)
			c.publish()
		}
	}
}

// talking reports whether any flow still owes or awaits a FIN.
func (c *control) talking() bool {
	for _, f := range c.flows {
		if f.machine.state != timeWait {
			return true
		}
	}
	return false
}

// release gives everything back.
func (c *control) release() error {
	for _, f := range c.flows {
		f.phase.Store(phaseGone)
		if f.unwatch != nil {
			f.unwatch()
		}
		if f.dial != nil {
			f.dial.answer(nil, net.ErrClosed)
		}
	}
	err := c.t.wire.close()
	for _, f := range c.flows {
		if f.port != nil {
			err = errors.Join(err, f.port.Close())
		}
	}
	for _, h := range c.held {
		err = errors.Join(err, h.Close())
	}
	for _, h := range c.holdings {
		err = errors.Join(err, h.Close())
	}
	c.flows, c.held, c.holdings, c.dirty = map[tuple]*Flow{}, nil, map[uint16]*holding{}, true
	c.publish()
	return err
}

// refuseDials answers the dials that nobody will handle any more.
func (c *control) refuseDials() {
	for {
		select {
		case m := <-c.t.inbox.C():
			m.refuse()
		default:
			return
		}
	}
}
