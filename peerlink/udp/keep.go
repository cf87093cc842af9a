package udp

import (
	"context"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

const (
	beatEvery = 5 * time.Second
	// idleBeats is how long a path that nobody adopts is kept without traffic: a
	// minute, longer than a handshake or the opening of a NAT takes.
	idleBeats = 12
	// missingBeats is how long an adopted path outlives its address.
	missingBeats = 2
)

// Run is the Transport's actor: it follows routes and addresses, and forgets
// idle paths. It returns nil when ctx ends or the Transport is closed. Run again,
// it finds its paths where they were.
func (t *Transport) Run(ctx context.Context) error {
	select {
	case <-t.closing:
		return nil
	case <-ctx.Done():
		return nil
	case <-t.owner:
	}
	defer func() { t.owner <- struct{}{} }()

	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan error, 1)
	go func() {
		watching <- actors.Together(ctx, t.router.resolver.Run, func(ctx context.Context) error { return link.Govern(ctx, t.govern) })
	}()
	ended := false
	defer func() {
		cancel()
		if !ended {
			<-watching //nolint:errcheck // nobody waits for what it says any more
		}
	}()

	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.closing:
			return nil
		case err := <-watching:
			ended = true
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watching routes: %w", err)
		case <-t.poke.C():
			t.follow()
		case <-beat.C:
			t.age(t.beat.Add(1))
		}
	}
}

// routesChanged has Run look at the ways that only the kernel can tell of.
func (t *Transport) routesChanged() {
	t.rerouted.Store(true)
	t.poke.Give()
}

// follow looks at the paths whose way has changed, or may have.
func (t *Transport) follow() {
	all := t.rerouted.Swap(false)
	for _, v := range t.paths.Range {
		p := v.(*Path)
		switch moved := p.moved.Swap(false); {
		case moved || all && p.state.Load() == adopted:
			p.reconsider()
		case all:
			if w := p.way.Load(); w != nil {
				t.router.check(w, p.remote.Addr())
			}
		}
	}
}

// age ends paths that nobody adopted and nobody uses, and adopted ones whose
// address the host has lost, for longer than it takes to set an interface up anew.
func (t *Transport) age(beat uint32) {
	for _, v := range t.paths.Range {
		switch p := v.(*Path); p.state.Load() {
		case young:
			if beat-p.seen.Load() >= idleBeats {
				p.Close()
			}
		case adopted:
			if p.reconsider() {
				p.missing = 0
			} else if p.missing++; p.missing >= missingBeats {
				t.log.Info("path ends: this host has lost its address", "path", p)
				p.Close()
			}
		}
	}
}
