package impair

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction names one way through a bridge.
type Direction int

const (
	// There is from the left device to the right one, Back the other way.
	There Direction = iota
	Back
	directions
)

// String is the direction's name in commands and reports.
func (d Direction) String() string { return [...]string{"there", "back"}[d] }

// Both is both directions.
var Both = []Direction{There, Back}

// Bridge connects two Ethernet devices of one network namespace through a Line
// in each direction, in user space. The devices should have no addresses, and
// whoever sends into them must send whole packets: TSO, GSO and transmit
// checksums off at the far ends of the veth pairs (`ethtool -K DEV tx off tso
// off gso off gro off`). Super-packets are refused and counted in Host.
//
// Its methods may be called by several goroutines until Close.
type Bridge struct {
	ways [directions]*direction
	stop chan struct{}
	wait sync.WaitGroup
}

// Open starts a bridge between two devices of the calling thread's network
// namespace. Lines of the same seed make the same decisions in every run; the
// two directions are independent of each other.
func Open(left, right string, seed uint64, p Profile) (*Bridge, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var index [2]int
	for i, name := range []string{left, right} {
		device, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", name, err)
		}
		index[i] = device.Index
	}
	b := &Bridge{stop: make(chan struct{})}
	origin := time.Now()
	for way := range b.ways {
		d, err := openDirection(index[way], index[1-way], NewLine(seed<<1|uint64(way), p), origin)
		if err != nil {
			if way > 0 {
				b.ways[0].close()
			}
			return nil, fmt.Errorf("bridge %s and %s (this needs root): %w", left, right, err)
		}
		b.ways[way] = d
	}
	for _, d := range b.ways {
		b.wait.Go(func() { d.run(b.stop) })
	}
	return b, nil
}

// Close ends the bridge: the cable is cut, what is under way is lost.
func (b *Bridge) Close() {
	close(b.stop)
	for _, d := range b.ways {
		d.ring()
	}
	b.wait.Wait()
	for _, d := range b.ways {
		d.close()
	}
}

// Turn turns knobs in the given directions while packets flow; the others stay
// as they are. See Knobs for the words.
func (b *Bridge) Turn(ways []Direction, words ...string) error {
	var errs []error
	for _, way := range ways {
		d := b.ways[way]
		d.ask(func() {
			p, err := d.line.Profile().With(words...)
			if err != nil {
				errs = append(errs, err)
				return
			}
			d.line.SetProfile(p)
		})
	}
	return errors.Join(errs...)
}

// Vanish makes a flow disappear in the given directions; all else passes.
func (b *Bridge) Vanish(ways []Direction, f Flow) {
	for _, way := range ways {
		d := b.ways[way]
		d.ask(func() { d.line.Vanish(f) })
	}
}

// VanishSeen makes every TCP and UDP flow disappear that was seen until now in
// either direction. A flow with another port or address passes: the "fake dead"
// connection of some providers. It returns the flows.
func (b *Bridge) VanishSeen(ways []Direction) []Flow {
	all := b.Flows()
	flows := make([]Flow, 0, len(all))
	for f := range all {
		b.Vanish(ways, f)
		flows = append(flows, f)
	}
	return flows
}

// Heal ends blackholes and brings vanished flows back.
func (b *Bridge) Heal(ways []Direction) {
	for _, way := range ways {
		d := b.ways[way]
		d.ask(func() { d.line.Heal() })
	}
}

// Flows are those seen since the last Reset, with the packets of both
// directions.
func (b *Bridge) Flows() map[Flow]uint64 {
	all := map[Flow]uint64{}
	for _, d := range b.ways {
		d.ask(func() {
			for f, packets := range d.line.Flows() {
				all[f] += packets
			}
		})
	}
	return all
}

// Stats are what one direction counted since it began, or since Reset.
type Stats struct {
	Counters
	Host Host
}

// Stats reads the counters of one direction.
func (b *Bridge) Stats(way Direction) (s Stats) {
	d := b.ways[way]
	d.ask(func() {
		d.host.Overrun += d.in.overrun()
		s = Stats{d.line.Counters(), d.host}
	})
	return s
}

// Reset sets the counters of both directions to zero and forgets the flows
// seen, except those that have vanished. Profiles, queues and chance go on.
func (b *Bridge) Reset() {
	for _, d := range b.ways {
		d.ask(func() {
			d.line.ResetCounters()
			d.in.overrun()
			d.host = Host{}
		})
	}
}
