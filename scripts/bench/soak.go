package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

const (
	// soakSlices is how many transfers a soak is made of.
	soakSlices = 10
	// flat is how much more resident memory the second half of a soak may show
	// than the first: a collector's rhythm, no leak.
	flat = 1.15
	// warmUp is how many seconds each load of warm takes.
	warmUp = 5
	// stalled is how little a transfer moves, in Mbit/s, that has stopped.
	stalled = 1
	// callRate and callSize are of the datagrams that pass beside the load, a second
	// and in bytes: enough to see a change of keys between two of them.
	callRate, callSize = 250, 200
	// besideChange is how long before or after a change of keys a datagram was sent
	// whose loss is laid at its door.
	besideChange = 500 * time.Millisecond
)

// soakWays are iperf3's arguments for the two directions of a soak.
var soakWays = [2][]string{{"-P", "4"}, {"-P", "4", "-R"}}

// runSoak loads our two nodes with alternating directions and watches their
// memory, their changes of keys, and a stream of datagrams beside the load. It
// fails when the memory grows, when the traffic stops, and when a change of
// keys loses a datagram.
func (p plan) runSoak(ctx context.Context) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := p.start(ctx, l, p.carrier(), lab.AsVeth)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.logs())
		}
	}()
	if err := c.warm(ctx); err != nil {
		return err
	}
	drops, err := c.drops(ctx)
	if err != nil {
		return err
	}
	call, err := lab.StartStream(ctx, c.pair.Left, c.pair.Right, c.target, callRate, callSize)
	if err != nil {
		return err
	}
	keys := watchKeys(ctx, c.nodes[0], sides[1])
	err = p.loads(ctx, c)
	keys.stop()
	heard := call.Stop(5 * time.Second)
	after, dropsErr := c.drops(ctx)
	if dropsErr != nil {
		return errors.Join(err, dropsErr)
	}
	beside := 0
	for _, at := range keys.changes {
		beside += heard.Between(at.Add(-besideChange), at.Add(besideChange)).Missing()
	}
	fmt.Printf("\nBeside the load %d datagrams were sent, %d a second: %d are lost, %d of them within %s of one of %d changes of keys.\n",
		len(heard.Packets), callRate, heard.Missing(), beside, besideChange, len(keys.changes))
	printDrops(drops, after)
	if beside > 0 {
		err = errors.Join(err, fmt.Errorf("%d datagrams are lost around changes of keys", beside))
	}
	if err = errors.Join(err, keys.err); err == nil {
		fmt.Println("\nNothing stopped, nothing leaked.")
	}
	return err
}

// warm loads the nodes before their memory is looked at: buffers grow at first, to
// what the load needs. A flood of UDP overruns the receiver, and what is kept to
// repair losses grows as well.
func (c *contender) warm(ctx context.Context) error {
	flood := []string{"-u", "-b", "0", "-l", "1200"}
	for _, args := range [][]string{soakWays[0], soakWays[1], flood, append(flood, "-R")} {
		if _, err := iperf(ctx, c, warmUp, args...); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
	}
	return nil
}

// loads runs the transfers of a soak one after the other.
func (p plan) loads(ctx context.Context, c *contender) error {
	fmt.Printf("Our nodes (%s) under TCP load for %s.\n\n| after | Mbit/s | seconds without a byte | left RSS (MB) | right RSS (MB) |\n|---:|---:|---:|---:|---:|\n", c.name, p.soak)
	began := time.Now()
	slice := max(1, int(p.soak.Seconds())/soakSlices)
	var halves [2]int64 // the most seen in each
	for i := range soakSlices {
		args := soakWays[i%2]
		moved, err := tcp(args...)(ctx, c, slice)
		if err != nil {
			return fmt.Errorf("transfer %d of %d, %s after the start: %w", i+1, soakSlices, time.Since(began).Round(time.Second), err)
		}
		var rss [2]int64
		for side, process := range c.processes {
			if rss[side], err = process.RSS(); err != nil {
				return err
			}
			half := &halves[i*2/soakSlices]
			*half = max(*half, rss[side])
		}
		fmt.Printf("| %s | %.0f | %d | %.1f | %.1f |\n", time.Since(began).Round(time.Second), moved.value, moved.idle, float64(rss[0])/1e6, float64(rss[1])/1e6)
		if moved.value < stalled {
			return fmt.Errorf("transfer %d of %d (iperf3 %v) moved %.3f Mbit/s: the traffic has stopped", i+1, soakSlices, args, moved.value)
		}
	}
	if float64(halves[1]) > flat*float64(halves[0]) {
		return fmt.Errorf("memory grows: at most %.1f MB in the first half, %.1f MB in the second", float64(halves[0])/1e6, float64(halves[1])/1e6)
	}
	return nil
}

// keyWatch notes when a node begins to use new keys with a peer.
type keyWatch struct {
	changes []time.Time // valid once stop has returned, as is err
	err     error       // why it has seen nothing at all
	quit    func()
	done    chan struct{}
}

func watchKeys(ctx context.Context, node *lab.Node, peer string) *keyWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &keyWatch{quit: cancel, done: make(chan struct{}), err: errors.New("the age of the keys was never read")}
	go func() {
		defer close(w.done)
		var current time.Time
		for ctx.Err() == nil {
			since, err := node.Keys(ctx, peer)
			switch {
			case err != nil && !current.IsZero():
			case err != nil:
				w.err = err
			case current.IsZero():
				current, w.err = since, nil
			// What is asked while the machine is busy is answered late: the same keys
			// look younger by that.
			case since.Sub(current) > time.Second:
				current = since
				w.changes = append(w.changes, since)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return w
}

// stop ends the watch and waits until it has ended.
func (w *keyWatch) stop() {
	w.quit()
	<-w.done
}

// printDrops prints what nodes have dropped between two readings.
func printDrops(before, after map[string]uint64) {
	none := true
	for _, reason := range slices.Sorted(maps.Keys(after)) {
		if n := after[reason] - before[reason]; n > 0 {
			if none {
				fmt.Printf("\n| dropped by the nodes | |\n|---|---:|\n")
			}
			none = false
			fmt.Printf("| %s | %d |\n", reason, n)
		}
	}
	if none {
		fmt.Println("The nodes dropped nothing.")
	}
}
