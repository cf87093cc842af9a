package keys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const (
	saveDelay   = 250 * time.Millisecond // gathers a burst of newcomers into one write
	saveRetry   = 5 * time.Second        // after a write that failed
	refusalMute = time.Minute            // the same refusal is logged once in this time
	maxMuted    = 1024                   // refusals remembered for that
)

// ManagerConfig is what a [Manager] is made of.
type ManagerConfig struct {
	Book       *RosterBook
	Self       Self
	MaxClients int // other nodes linked to this one at a time; 0: no limit
	Mailbox    *actors.Mailbox[message.ToKeys]
	Log        hclog.Logger
}

// Manager is the actor that decides who may be in the mesh and under which
// addresses. It owns the roster, and answers [message.Authorize]. What it knows
// is in the [RosterBook], so that a restarted Manager goes on where the last one
// stood.
type Manager struct {
	ManagerConfig
	census Census
	muted  map[string]time.Time
	saveAt <-chan time.Time // nil while the disk has what memory has
	saving bool             // the last write failed: already said
}

// NewManager validates the configuration and starts nothing.
func NewManager(c ManagerConfig) (*Manager, error) {
	switch {
	case c.Book == nil || c.Mailbox == nil:
		return nil, errors.New("key manager: needs a roster book and a mailbox")
	case c.Self.ID.IsZero():
		return nil, errors.New("key manager: needs the identity of this node")
	case c.MaxClients < 0:
		return nil, fmt.Errorf("key manager: max-clients is %d, want 0 (no limit) or more", c.MaxClients)
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return &Manager{ManagerConfig: c, muted: make(map[string]time.Time)}, nil
}

// Run answers until ctx ends; before it returns the roster is on disk.
func (m *Manager) Run(ctx context.Context) error {
	m.checkOwnAddresses()
	defer m.flush()
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-m.Mailbox.C():
			m.take(time.Now(), msg)
		case <-m.saveAt:
			m.save()
		}
	}
}

// checkOwnAddresses warns of what the others will refuse, for the log of the
// node that can do something about it.
func (m *Manager) checkOwnAddresses() {
	r := m.Book.Roster()
	for _, p := range m.Self.Addresses {
		if e, taken := r.Holder(p.Addr()); taken && e.ID != m.Self.ID {
			m.Log.Warn("own address is bound to another node, others will refuse this one: choose another --address",
				"address", p.Addr(), "peer", e.Label(), "since", e.Since.Format(time.DateTime))
		}
	}
}

func (m *Manager) take(now time.Time, msg message.ToKeys) {
	switch msg := msg.(type) {
	case message.Authorize:
		m.authorize(now, msg)
	case message.Witnessed:
		r, refusal := m.Book.Roster().Witness(now, m.Self, msg.Advert)
		if refusal != "" {
			m.logRefusal(now, "advert conflicts with the roster", msg.Advert.ID, msg.Advert.Name, refusal)
			return
		}
		m.publish(r)
	default:
		m.Log.Error("message of an unknown kind", "kind", fmt.Sprintf("%T", msg))
	}
}

func (m *Manager) authorize(now time.Time, q message.Authorize) {
	r, refusal := m.Book.Roster().Admit(now, m.Self, q.Hello)
	if refusal == "" {
		refusal = m.census.Admit(now, q.Hello.ID, m.MaxClients)
	}
	if refusal == "" {
		m.publish(r)
	} else {
		m.logRefusal(now, "node refused", q.Hello.ID, q.Hello.Name, refusal, "from", q.From)
	}
	// A lost answer costs one handshake, which the far side repeats.
	q.Reply.Offer(message.Authorized{Token: q.Token, Node: q.Hello.ID, Refusal: refusal})
}

// publish makes r the roster that everybody sees and sees to its being saved.
func (m *Manager) publish(r Roster) {
	if old := m.Book.Roster(); r.Same(old) {
		return
	}
	m.Book.now.Store(&r)
	if m.saveAt == nil {
		m.saveAt = time.After(saveDelay)
	}
}

func (m *Manager) save() {
	m.saveAt = nil
	if err := m.Book.save(); err != nil {
		if !m.saving {
			m.Log.Error("roster cannot be saved, new nodes are forgotten at the next start", "error", err)
		}
		m.saving = true
		m.saveAt = time.After(saveRetry)
		return
	}
	m.saving = false
}

func (m *Manager) flush() {
	if m.saveAt != nil {
		m.save()
	}
}

func (m *Manager) logRefusal(now time.Time, what string, id message.NodeID, name, refusal string, more ...any) {
	key := id.String() + refusal
	if last, ok := m.muted[key]; ok && now.Sub(last) < refusalMute {
		return
	}
	maps.DeleteFunc(m.muted, func(_ string, t time.Time) bool { return now.Sub(t) >= refusalMute })
	if len(m.muted) >= maxMuted {
		return
	}
	m.muted[key] = now
	m.Log.Warn(what, append([]any{"peer", name, "id", id.Brief(), "reason", refusal, "roster", m.Book.Path()}, more...)...)
}
