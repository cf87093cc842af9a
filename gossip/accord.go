package gossip

import (
	"errors"
	"math/bits"
	"time"
)

const (
	// askEvery is how often a node of a small mesh exchanges all that it knows
	// with a random member, unless it was found to agree with somebody meanwhile.
	askEvery = 30 * time.Second
	// askAlike is up to which size of the mesh that holds; each doubling beyond
	// adds askEvery, as a push/pull grows with the mesh.
	askAlike = 32
	// steady is how long what a node knows must not have changed for it to be
	// compared: news that is just being spread is no disagreement.
	steady = 5 * time.Second
)

// accord decides when this node exchanges all that it knows with another member,
// by a push/pull. Those are large, and in a mesh at rest both sides nearly always
// know the same: so each answer to a probe carries a [summary] of what the
// answering node knows. Who knows otherwise is asked for all of it; when nobody
// was found to agree for a while, be it that no summary arrived, a random member
// is.
//
// It is pure and belongs to one goroutine; the zero value is ready.
type accord struct {
	next   time.Time // when a random member is asked
	agreed bool      // somebody knew the same since next was set
	odd    *join     // it knows otherwise
	free   time.Time // who knows otherwise is not asked before
}

// heard takes the outcome of one comparison.
func (a *accord) heard(from join, same bool) {
	if !same {
		a.odd = &from
		return
	}
	a.agreed = true
	if a.odd != nil && a.odd.id == from.id {
		a.odd = nil
	}
}

// due returns the member to be asked now, if any, in a mesh of n nodes.
func (a *accord) due(now time.Time, n int, mesh crowd) (join, bool) {
	every := askInterval(n)
	if a.next.IsZero() {
		a.plan(now, every, mesh)
	}
	if odd := a.odd; odd != nil && !now.Before(a.free) {
		a.plan(now, every, mesh)
		a.free = now.Add(every / 2)
		return *odd, true
	}
	if now.Before(a.next) {
		return join{}, false
	}
	agreed := a.agreed
	a.plan(now, every, mesh)
	if agreed {
		return join{}, false
	}
	if all := mesh.living(); len(all) > 0 {
		return all[mesh.pick(len(all))], true
	}
	return join{}, false
}

// plan sets the next time, up to a quarter earlier so that nodes which started
// together do not all ask together.
func (a *accord) plan(now time.Time, every time.Duration, mesh crowd) {
	const parts = 64
	a.next, a.agreed, a.odd = now.Add(every-every/4*time.Duration(mesh.pick(parts))/parts), false, nil
}

func askInterval(n int) time.Duration {
	return askEvery * time.Duration(1+bits.Len(uint(max(n-1, 0)/askAlike)))
}

// summary stands for all that a node knows: of two nodes with the same summary,
// each knows the newest advert of the same nodes.
type summary [8]byte

func (s *summary) add(digest []byte) {
	for i := range s {
		s[i] ^= digest[i]
	}
}

// kindSummary begins the payload of an answer to a probe:
//
//	| kindSummary | summary 8 |
//
// What has changed lately is not summed up: the payload is empty then. As with
// the other kinds, unknown ones are dropped.
const kindSummary = 1

func (s summary) marshal() []byte { return append([]byte{kindSummary}, s[:]...) }

func parseSummary(data []byte) (summary, error) {
	if len(data) != 1+len(summary{}) || data[0] != kindSummary {
		return summary{}, errors.New("answer to a probe without a summary")
	}
	return summary(data[1:]), nil
}
