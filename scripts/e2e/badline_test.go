package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// badLine is a site and the seed with a bad line between them. The line is
// perfect but for 10 ms each way until a test turns knobs.
type badLine struct {
	*mesh
	*lab.Impaired
	seed, site *lab.Node
}

// newBadLine starts both nodes and waits until they reach each other. The knobs
// are those of the line from the beginning; flags are for both nodes.
func newBadLine(t *testing.T, binary string, config lab.ImpairedConfig, knobs string, flags ...string) *badLine {
	t.Helper()
	return newBadLineTo(t, "0.0.0.0:9000", lab.PairRight4+":9000", binary, config, knobs, flags...)
}

// newBadLineTo is newBadLine with a seed that listens elsewhere and is known by another address.
func newBadLineTo(t *testing.T, listen, seed, binary string, config lab.ImpairedConfig, knobs string, flags ...string) *badLine {
	t.Helper()
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	t.Cleanup(cancel)
	var err error
	config.Line, err = impair.Profile{}.With(strings.Fields("delay=10ms " + knobs)...)
	must(t, err)
	config.Seed = 1
	pair, err := l.Impaired(ctx, config)
	must(t, err)
	m := &mesh{Star: &lab.Star{Server: pair.Right}, t: t, ctx: ctx, lab: l, binary: binary, keyFile: filepath.Join(l.Dir(), "key")}
	m.newKey(m.keyFile)
	b := &badLine{mesh: m, Impaired: pair}
	b.seed = m.run(pair.Right, "seed", 1, append([]string{"--listen", listen}, flags...)...)
	b.site = m.run(pair.Left, "site1", 2, append([]string{"--seed", seed, "--stun", "none"}, flags...)...)
	m.reaches(pair.Left, ip4(1))
	must(t, b.site.Up(ctx, "seed"))
	return b
}

// turn turns knobs of both directions.
func (b *badLine) turn(knobs string) {
	b.t.Helper()
	must(b.t, b.Line.Turn(impair.Both, strings.Fields(knobs)...))
}

// stream is a paced UDP stream from the site to the seed.
func (b *badLine) stream(perSecond float64, size int) *lab.Stream {
	b.t.Helper()
	s, err := lab.StartStream(b.ctx, b.Left, b.Right, ip4(1), perSecond, size)
	must(b.t, err)
	b.t.Cleanup(func() { s.Stop(0) })
	return s
}

// passes waits until so many datagrams sent from now on have arrived, and
// returns when that was.
func (b *badLine) passes(s *lab.Stream, datagrams int) time.Time {
	b.t.Helper()
	from := time.Now()
	must(b.t, lab.Until(b.ctx, fmt.Sprintf("%d datagrams arrive", datagrams), func() error {
		if n := s.ArrivedOf(from); n < datagrams {
			return fmt.Errorf("so far %d", n)
		}
		return nil
	}))
	return time.Now()
}

// bulk is a TCP stream from the site to the seed that moves.
func (b *badLine) bulk() *lab.Bulk {
	b.t.Helper()
	s, err := lab.StartBulk(b.ctx, b.Left, b.Right, ip4(1))
	must(b.t, err)
	b.t.Cleanup(func() { s.Stop() })
	b.moves(s)
	return s
}

// moves waits until a good part of a megabyte has arrived from now on.
func (b *badLine) moves(s *lab.Bulk) {
	b.t.Helper()
	from := time.Now()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	must(b.t, lab.Until(ctx, "the connection moves", func() error {
		if err := s.Err(); err != nil {
			cancel()
			return err
		}
		if n := s.Bytes(from, time.Now()); n < 500_000 {
			return fmt.Errorf("%d bytes so far", n)
		}
		return nil
	}))
}

// parity is the number of repair packets a group has that the site sends.
func (b *badLine) parity() int {
	b.t.Helper()
	return b.toSeed().Link.FECParity
}

// toSeed is what the site shows of the seed.
func (b *badLine) toSeed() lab.Peer { b.t.Helper(); return b.shown(b.site, "seed") }

// shown is what a node shows of another.
func (b *badLine) shown(by *lab.Node, name string) lab.Peer {
	b.t.Helper()
	peers, err := by.Peers(b.ctx)
	must(b.t, err)
	i := slices.IndexFunc(peers.Peers, func(p lab.Peer) bool { return p.Name == name })
	if i < 0 {
		b.t.Fatalf("%s is not known: %+v", name, peers.Peers)
	}
	return peers.Peers[i]
}

// lasts lets a condition of the line last for so long.
func (b *badLine) lasts(d time.Duration) {
	b.t.Helper()
	end := time.Now().Add(d)
	must(b.t, lab.Until(b.ctx, d.String()+" pass", func() error {
		if time.Now().Before(end) {
			return errors.New("not yet")
		}
		return nil
	}))
}
