package nat

import "time"

const (
	// RefreshInterval is how often the mapping of the data socket is asked for while
	// all is well, with one request.
	RefreshInterval = 20 * time.Minute
	// surveySpacing is the least time between the starts of two surveys.
	surveySpacing = 10 * time.Second
	// surveyDelay is how long a changed network may settle before it is looked at.
	surveyDelay = 500 * time.Millisecond
	// meshGrace is how long a node that starts waits for nodes of the mesh to become
	// known, before it asks public servers.
	meshGrace = 5 * time.Second
)

// plan says when there is something to ask. It is pure.
type plan struct {
	started  time.Time
	survey   time.Time // when the next survey begins; zero: not planned
	refresh  time.Time // when the mapping is asked for again; zero: not planned
	last     time.Time // when the last survey began
	backoff  time.Duration
	lacking  bool // the last survey found too few servers: news of them is welcome
	attempts int
}

func (p *plan) begin(now time.Time) { p.started, p.survey = now, now }

// public says whether public servers may be asked yet.
func (p *plan) public(now time.Time) bool { return p.attempts > 0 || now.Sub(p.started) >= meshGrace }

// changed plans a survey because the network did.
func (p *plan) changed(now time.Time) {
	p.backoff = 0
	p.at(now.Add(surveyDelay))
}

// looked plans a survey if there may be servers at last.
func (p *plan) looked(now time.Time) {
	if p.lacking {
		p.at(now)
	}
}

// at plans a survey at t, or earlier if one is planned, but never too soon.
func (p *plan) at(t time.Time) {
	if soonest := p.last.Add(surveySpacing); !p.last.IsZero() && t.Before(soonest) {
		t = soonest
	}
	if p.survey.IsZero() || t.Before(p.survey) {
		p.survey = t
	}
}

// surveyed notes that a survey began.
func (p *plan) surveyed(now time.Time) {
	p.last, p.survey, p.refresh = now, time.Time{}, time.Time{}
	p.attempts++
}

// noServers notes that there was nobody to ask, which cost nothing.
func (p *plan) noServers(now time.Time) {
	p.lacking = true
	p.refresh = time.Time{}
	if grace := p.started.Add(meshGrace); now.Before(grace) {
		p.survey = grace
		return
	}
	p.backoff = min(max(2*p.backoff, surveySpacing), RefreshInterval)
	p.survey = now.Add(p.backoff)
}

// await notes that a survey waits for names to be looked up.
func (p *plan) await(now time.Time) { p.survey = now.Add(RefreshInterval) }

// ended notes what a survey brought: with all that matters there is only the
// mapping to be watched, otherwise it is tried again, ever more rarely.
func (p *plan) ended(now time.Time, complete bool) {
	if complete {
		p.lacking, p.backoff = false, 0
		p.refresh = now.Add(RefreshInterval)
		return
	}
	p.lacking = true
	p.backoff = min(max(2*p.backoff, surveySpacing), RefreshInterval)
	p.at(now.Add(p.backoff))
}

// rest plans nothing until the network changes.
func (p *plan) rest() { p.survey, p.refresh, p.lacking = time.Time{}, time.Time{}, false }

// next is when the plan has something to do; zero: not before the network changes.
func (p *plan) next() time.Time {
	if p.survey.IsZero() || !p.refresh.IsZero() && p.refresh.Before(p.survey) {
		return p.refresh
	}
	return p.survey
}
