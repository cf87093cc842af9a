package punch

import (
	"fmt"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Why says in words, with numbers, why there is no direct path to the peer.
func (o *Opener) Why(now time.Time) string {
	switch {
	case !o.cfg.UDP && !o.cfg.TCP:
		return "nothing here can open direct paths"
	case o.state == trying:
		return fmt.Sprintf("trying: %s sent in %s", plural(o.run.stats.Probes, "probe"), ago(now.Sub(o.since)))
	case o.state != idle:
		return "trying: " + [...]string{gathering: "asking how this node is seen", calling: "calling the peer", waiting: "about to probe"}[o.state]
	case o.local == nil || len(o.local.Candidates) == 0:
		return "the own addresses are not known yet"
	}
	parts := []string{}
	if o.result != "" {
		parts = append(parts, o.result)
	}
	if o.tries > 0 {
		parts = append(parts, plural(o.tries, "try"))
	}
	switch wait := o.next.Sub(now); {
	case !o.look.Up:
		parts = append(parts, "no next one while the peer is out of reach")
	case !o.look.Wanted:
		parts = append(parts, "next with traffic")
	case wait > 0:
		parts = append(parts, "next in "+ago(wait))
	default:
		parts = append(parts, "next now")
	}
	return strings.Join(parts, ", ")
}

// unanswered says what a try in vain has done.
func (o *Opener) unanswered() string {
	s := o.run.stats
	var b strings.Builder
	switch {
	case o.run.plan.hopeless != "" && s.Asked == 0:
		b.WriteString(o.run.plan.hopeless)
		if s.Probes > 0 {
			fmt.Fprintf(&b, "; no answer from other addresses to %s", plural(s.Probes, "probe"))
		}
	case o.run.moved != nil:
		return "a path was found and the link did not take it"
	case s.Asked > 0:
		fmt.Fprintf(&b, "the peer was heard %s, but no answer to %s", times(s.Asked), plural(s.Probes, "probe"))
	case s.Probes == 0:
		b.WriteString("no connection")
	default:
		fmt.Fprintf(&b, "no answer to %s", plural(s.Probes, "probe"))
	}
	if o.run.plan.crosses() && s.Crossed == 0 {
		b.WriteString(", fake TCP neither")
	}
	return b.String() + o.kinds()
}

// kinds are the NATs of both sides, in parentheses behind a reason.
func (o *Opener) kinds() string {
	here := inWords(o.own.NAT)
	if o.own.NAT.Mapping == message.Unknown && !o.cfg.Search {
		here = "not looked at, -nat-detection=false"
	}
	return fmt.Sprintf(" (NAT here: %s, there: %s)", here, inWords(o.peer.NAT))
}

func (p plan) crosses() bool { return len(p.cross[0])+len(p.cross[1])+len(p.dial) > 0 }

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// ago prints a duration short enough for a table.
func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()+0.5))
	}
	return fmt.Sprintf("%dm", int(d.Minutes()+0.5))
}
