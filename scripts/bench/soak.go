package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// soakSamples is how many times a soak looks at the memory.
const soakSamples = 10

// flat is how much more resident memory the second half of a soak may show
// than the first: a collector's rhythm, no leak.
const flat = 1.15

// runSoak loads our two nodes with alternating directions and watches their
// resident memory. It fails when the memory grows.
func (p plan) runSoak(ctx context.Context) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := p.start(ctx, l, ours, lab.AsVeth)
	if err != nil {
		return err
	}
	fmt.Printf("Our nodes under TCP load for %s.\n\n| after | Mbit/s | left RSS (MB) | right RSS (MB) |\n|---:|---:|---:|---:|\n", p.soak)
	began := time.Now()
	slice := max(1, int(p.soak.Seconds())/soakSamples)
	var halves [2]int64 // the most seen in each
	for i := range soakSamples {
		args := []string{"-P", "4"}
		if i%2 == 1 {
			args = append(args, "-R")
		}
		sample, err := tcp(args...)(ctx, c, slice)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, c.logs())
		}
		var rss [2]int64
		for side, process := range c.processes {
			if rss[side], err = process.RSS(); err != nil {
				return err
			}
			half := &halves[i*2/soakSamples]
			*half = max(*half, rss[side])
		}
		fmt.Printf("| %s | %.0f | %.1f | %.1f |\n", time.Since(began).Round(time.Second), sample.value, float64(rss[0])/1e6, float64(rss[1])/1e6)
	}
	if float64(halves[1]) > flat*float64(halves[0]) {
		return fmt.Errorf("memory grows: at most %.1f MB in the first half, %.1f MB in the second", float64(halves[0])/1e6, float64(halves[1])/1e6)
	}
	fmt.Println("\nMemory is flat.")
	return nil
}
