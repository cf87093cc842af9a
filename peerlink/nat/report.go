package nat

import (
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Report is what a [Prober] knows. It is immutable.
type Report struct {
	When      time.Time // of the newest answers; zero: none yet
	Ended     time.Time // of the newest survey that came to its end; zero: none yet
	Behaviour Behaviour
	// Candidates are where this node may be reached: interfaces, then ports that the
	// router forwards, then what others see of the data socket.
	Candidates []Candidate
	Hosts      []netip.Addr // of the interfaces, whether or not anything is received there
	// Mapped4 and Mapped6 are the data socket as others see it; not valid if unknown.
	Mapped4, Mapped6 netip.AddrPort
	Lifetime         Lifetime // of what the NAT maps for UDP
	Tried            []Try
	Problems         []string // sentences for people, what to do included
}

// Endpoints are the distinct addresses of Candidates, for message.Advert.
func (r *Report) Endpoints() []netip.AddrPort {
	var all []netip.AddrPort
	for _, c := range r.Candidates {
		if !slices.Contains(all, c.Addr) {
			all = append(all, c.Addr)
		}
	}
	return all[:min(len(all), message.MaxEndpoints)]
}

// same says whether o tells others nothing new.
func (r *Report) same(o *Report) bool {
	return r.Behaviour == o.Behaviour && slices.Equal(r.Candidates, o.Candidates) && slices.Equal(r.Problems, o.Problems) &&
		r.Mapped4 == o.Mapped4 && r.Mapped6 == o.Mapped6
}
