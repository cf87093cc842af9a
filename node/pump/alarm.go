package pump

import "time"

// alarm wakes a pump that waits for packets when something else is due. It
// belongs to the pump; its timer is made when it is first set, and kept.
type alarm struct {
	wake  func()
	timer *time.Timer
	at    int64 // for when it is set; 0: it is not
}

// set sees to it that the pump is woken at a time. An earlier one for which the
// alarm is set stays; that it then comes too early is no harm.
func (a *alarm) set(now, at int64) {
	if at == 0 || a.at > now && a.at <= at {
		return
	}
	a.at = at
	d := time.Duration(max(at-now, 0))
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.wake)
		return
	}
	a.timer.Reset(d)
}

// passed notes that the alarm has gone off, if it has.
func (a *alarm) passed(now int64) {
	if a.at != 0 && now >= a.at {
		a.at = 0
	}
}

// stop ends the alarm.
func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.at = 0
}
