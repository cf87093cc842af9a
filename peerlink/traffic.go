package peerlink

import "time"

// traffic tells a peer with which something goes on from one to whom gossip says
// a word now and then: that word may be a short connection, but is over at once.
type traffic struct {
	since time.Time // when the window began
	last  time.Time // when it was last seen that something was sent
	beats int       // how often it was, a beat apart
	first uint64    // packets sent when the window began
	seen  uint64    // packets sent when it was looked last
	until time.Time
}

const (
	trafficWindow  = 3 * time.Second
	trafficBeat    = 400 * time.Millisecond
	trafficBeats   = 3
	trafficPackets = 24
	trafficLasts   = time.Minute
)

// sent takes how many packets went to the peer by now.
func (t *traffic) sent(now time.Time, packets uint64) {
	if now.Sub(t.since) >= trafficWindow {
		t.since, t.first, t.beats = now, t.seen, 0
	}
	if packets != t.seen && (t.beats == 0 || now.Sub(t.last) >= trafficBeat) {
		t.last = now
		t.beats++
	}
	t.seen = packets
	if t.beats >= trafficBeats || packets-t.first >= trafficPackets {
		t.until = now.Add(trafficLasts)
	}
}

func (t *traffic) goesOn(now time.Time) bool { return now.Before(t.until) }
