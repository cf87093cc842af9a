package doctor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
)

// clock is the host's clock as the kernel sees it.
type clock struct {
	now    time.Time
	synced bool
	err    error
}

// Of linux/timex.h.
const (
	timeError  = 5    // what adjtimex returns of a clock that nobody keeps
	staUnsynch = 0x40 // in its status
)

func findClock() clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // reads only
	return clock{now: time.Now(), synced: state != timeError && t.Status&staUnsynch == 0, err: err}
}

// born is before this program: a clock that shows less was never set.
var born = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func (k clock) judge() Check {
	c := Check{Name: "clock", Verdict: OK, Found: "synchronised", Fix: fmt.Sprintf(
		"keep it right with NTP (`timedatectl set-ntp true`, or chrony): nodes whose clocks differ by more than %v refuse each other", noise.ClockWindow)}
	switch {
	case k.now.Before(born):
		c.Verdict, c.Found = Fail, "it shows "+k.now.UTC().Format(time.DateTime)+" UTC: it was never set"
	case k.err != nil:
		c.Verdict, c.Found = Warn, fmt.Sprintf("whether it is synchronised cannot be read: %v", k.err)
	case !k.synced:
		c.Verdict, c.Found = Warn, "it is not synchronised; it shows "+k.now.UTC().Format(time.DateTime)+" UTC"
	default:
		c.Fix = ""
	}
	return c
}
