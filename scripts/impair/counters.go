package impair

import (
	"encoding/json"
	"time"
)

// Counters say what a line has done. A duplicated packet counts once in In and
// twice in Out: In = Out - duplicates + Dropped.
type Counters struct {
	In, Out      Count
	Dropped      [reasons]Count // by Reason; Passed is always zero
	LongestQueue time.Duration  // the longest that a packet took through the bottleneck
}

// Count is packets and the bytes of their Ethernet frames.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c *Count) add(bytes int) {
	c.Packets++
	c.Bytes += uint64(bytes)
}

// Reason is why a packet was dropped.
type Reason int

const (
	// Passed is no reason: the packet was not dropped.
	Passed Reason = iota
	// Vanished packets belong to a flow that was made to disappear.
	Vanished
	// Blackholed packets came while everything was swallowed.
	Blackholed
	// TooBig packets exceeded the path MTU; nobody was told.
	TooBig
	// QueueFull packets found no room before the bottleneck.
	QueueFull
	// LostInBurst and Lost packets fell to chance.
	LostInBurst
	Lost
	reasons
)

// String is the reason's name in reports.
func (r Reason) String() string {
	return [...]string{"passed", "vanished", "blackholed", "too_big", "queue_full", "lost_in_burst", "lost"}[r]
}

// MarshalJSON names the reasons that have occurred.
func (c Counters) MarshalJSON() ([]byte, error) {
	dropped := map[string]Count{}
	for reason, count := range c.Dropped {
		if count.Packets > 0 {
			dropped[Reason(reason).String()] = count
		}
	}
	return json.Marshal(struct {
		In             Count            `json:"in"`
		Out            Count            `json:"out"`
		Dropped        map[string]Count `json:"dropped"`
		LongestQueueMS float64          `json:"longest_queue_ms"`
	}{c.In, c.Out, dropped, float64(c.LongestQueue) / float64(time.Millisecond)})
}
