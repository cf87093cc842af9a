package simnet

import (
	"container/heap"
	"sync"
	"time"
)

// schedule runs functions at their times, one at a time, those of equal time in
// the order in which they were put in: a timer for each would let the scheduler
// choose. It keeps no goroutine, so it holds up the end of no bubble. Its zero
// value is ready.
type schedule struct {
	mu      sync.Mutex
	events  eventHeap
	seq     uint64
	timer   *time.Timer
	running bool
}

type event struct {
	at  time.Time
	seq uint64
	run func()
}

// at arranges for f to run at t, on a goroutine of the schedule.
func (s *schedule) at(t time.Time, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	heap.Push(&s.events, event{at: t, seq: s.seq, run: f})
	if !s.running && s.events[0].seq == s.seq {
		s.arm()
	}
}

// arm sets the timer for the first event; called with the mutex held.
func (s *schedule) arm() {
	if len(s.events) == 0 {
		return
	}
	d := time.Until(s.events[0].at)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.fire)
	} else {
		s.timer.Reset(d)
	}
}

func (s *schedule) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return
	}
	s.running = true
	for len(s.events) > 0 && !s.events[0].at.After(time.Now()) {
		e := heap.Pop(&s.events).(event)
		s.mu.Unlock()
		e.run()
		s.mu.Lock()
	}
	s.running = false
	s.arm()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return last
}
