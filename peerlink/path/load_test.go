package path

import (
	"testing"
	"time"
)

func TestTheMemoryOfLossFades(t *testing.T) {
	var l Load
	now := time.Unix(1000, 0)
	if l.Loss(now) != 0 || l.Goodput(now) != 0 || l.Limited(now) {
		t.Error("something is known of a way that never carried traffic")
	}
	l.Lost(now, 0.4)
	var c candidate
	FillLoad(&c, &l, now.Add(time.Minute), false)
	if c.Loss < 0.3 || c.Goodput != 0 {
		t.Errorf("what happened under load is forgotten at once: %+v", c)
	}
	for last, at := 1.0, time.Duration(0); at < time.Hour; at += 10 * time.Second {
		loss := l.Loss(now.Add(at))
		if loss > last {
			t.Fatalf("after %v the memory grows", at)
		}
		last = loss
	}
	if loss := l.Loss(now.Add(time.Hour)); loss > 0.01 {
		t.Errorf("after an hour the loss is still %v", loss)
	}
}

func TestTheGoodputIsRememberedAndThenUnknown(t *testing.T) {
	now := time.Unix(1000, 0)
	throttled := func() *Load {
		l := &Load{}
		l.Passed(now, 125_000, true)
		return l
	}
	for _, c := range []struct {
		name  string
		then  func(*Load)
		after time.Duration
		inUse bool
		want  float64
	}{
		{"now", nil, 0, true, 125_000},
		{"a moment later", nil, 5 * time.Second, true, 125_000},
		{"of the way in use while no more is offered", nil, time.Minute, true, 0},
		{"of one that stands by", nil, 4 * time.Minute, false, 125_000},
		{"after a while", nil, 5 * time.Minute, false, 0},
		{"when little passes freely", func(l *Load) { l.Passed(now, 20_000, false) }, time.Minute, false, 125_000},
		{"when more passes freely", func(l *Load) { l.Passed(now, 1_000_000, false) }, 0, true, 0},
		{"when less passes than before", func(l *Load) { l.Passed(now, 60_000, true) }, 0, true, 60_000},
	} {
		l := throttled()
		if c.then != nil {
			c.then(l)
		}
		var got candidate
		if FillLoad(&got, l, now.Add(c.after), c.inUse); got.Goodput != c.want {
			t.Errorf("%s: %v, want %v", c.name, got.Goodput, c.want)
		}
	}
}
