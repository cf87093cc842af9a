package impair

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Profile is how bad a line is. Its zero value is a perfect cable.
// Probabilities are between 0 and 1.
type Profile struct {
	Delay  time.Duration // one way
	Jitter time.Duration // each packet's delay is uniform in Delay ± Jitter; the order is kept

	Loss        float64 // of each packet on its own
	BurstLoss   float64 // mean loss of a Gilbert-Elliott chain, below 1
	BurstLength float64 // mean number of packets lost in a row by it, at least 1

	Reorder   float64       // share of packets that are held back
	ReorderBy time.Duration // for how long

	Duplicate float64

	Rate       int64         // bit/s; 0: no bottleneck
	Queue      time.Duration // longest queue before the bottleneck; 0 (and no QueueBytes): without bound
	QueueBytes int           // the same in bytes; the smaller one counts

	MTU       int  // larger IP packets are dropped, and nobody is told; 0: none are
	Blackhole bool // everything is dropped
}

// ethernetHeader is the length of a frame's header: destination, source, type.
const ethernetHeader = 14

// Validate says what is impossible about a profile.
func (p Profile) Validate() error {
	var errs []error
	for name, share := range map[string]float64{"loss": p.Loss, "burst": p.BurstLoss, "reorder": p.Reorder, "duplicate": p.Duplicate} {
		if !(share >= 0 && share <= 1) {
			errs = append(errs, fmt.Errorf("%s: %v is no share of packets, want 0 %% to 100 %%", name, share))
		}
	}
	if p.BurstLoss > 0 && (p.BurstLoss > 0.9 || p.BurstLength < 1) {
		errs = append(errs, fmt.Errorf("burst: want a mean loss of at most 90 %% and a mean length of at least 1, got %v and %v", p.BurstLoss, p.BurstLength))
	}
	if p.Delay < 0 || p.Jitter < 0 || p.ReorderBy < 0 || p.Rate < 0 || p.Queue < 0 || p.QueueBytes < 0 || p.MTU < 0 {
		errs = append(errs, errors.New("times, rates and sizes are at least 0"))
	}
	return errors.Join(errs...)
}

// transmission is how long the bottleneck sends a frame.
func (p Profile) transmission(bytes int) time.Duration {
	return time.Duration(int64(bytes) * 8 * int64(time.Second) / p.Rate)
}

// queueLimit is the longest queue as a time, 0 if there is no bound.
func (p Profile) queueLimit() time.Duration {
	if p.QueueBytes == 0 {
		return p.Queue
	}
	limit := p.transmission(p.QueueBytes)
	if p.Queue > 0 {
		limit = min(limit, p.Queue)
	}
	return limit
}

// Knobs explains the words that With takes.
const Knobs = `delay=25ms          one way
jitter=3ms          each packet's delay is uniform in delay ± jitter; the order is kept
loss=1%             of each packet on its own
burst=3%/8          mean loss and mean length of bursts (Gilbert-Elliott)
reorder=1%/5ms      so many packets are held back by so much
duplicate=0.1%      so many packets come twice
rate=100mbit        bottleneck (kbit, mbit, gbit); 0 for none
queue=50ms          drop-tail queue before it, as a time or in bytes (queue=64000); 0 for no bound
mtu=1280            larger IP packets are dropped and nobody is told; 0 for none
blackhole=on        everything is dropped; off`

// With is the profile with some knobs turned, given as words, see Knobs.
func (p Profile) With(words ...string) (Profile, error) {
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		turn, known := knobs[name]
		if !known {
			return p, fmt.Errorf("%q is no knob, want one of:\n%s", word, Knobs)
		}
		if err := turn(&p, value); err != nil {
			return p, fmt.Errorf("%s: %w", word, err)
		}
	}
	return p, p.Validate()
}

var knobs = map[string]func(p *Profile, value string) error{
	"delay":     func(p *Profile, v string) error { return parse(&p.Delay, v, time.ParseDuration) },
	"jitter":    func(p *Profile, v string) error { return parse(&p.Jitter, v, time.ParseDuration) },
	"loss":      func(p *Profile, v string) error { return parse(&p.Loss, v, share) },
	"duplicate": func(p *Profile, v string) error { return parse(&p.Duplicate, v, share) },
	"mtu":       func(p *Profile, v string) error { return parse(&p.MTU, v, strconv.Atoi) },
	"rate":      func(p *Profile, v string) error { return parse(&p.Rate, v, rate) },
	"burst": func(p *Profile, v string) error {
		loss, length, _ := strings.Cut(v, "/")
		if length == "" {
			length = "1"
		}
		return errors.Join(parse(&p.BurstLoss, loss, share),
			parse(&p.BurstLength, length, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }))
	},
	"reorder": func(p *Profile, v string) error {
		part, by, _ := strings.Cut(v, "/")
		if by == "" {
			by = "0s"
		}
		return errors.Join(parse(&p.Reorder, part, share), parse(&p.ReorderBy, by, time.ParseDuration))
	},
	"queue": func(p *Profile, v string) error {
		p.Queue, p.QueueBytes = 0, 0
		if _, err := strconv.Atoi(v); err == nil {
			return parse(&p.QueueBytes, v, strconv.Atoi)
		}
		return parse(&p.Queue, v, time.ParseDuration)
	},
	"blackhole": func(p *Profile, v string) error {
		switch v {
		case "on", "off":
			p.Blackhole = v == "on"
			return nil
		}
		return errors.New("want on or off")
	},
}

// parse keeps the old value when there is an error.
func parse[T any](into *T, text string, parser func(string) (T, error)) error {
	value, err := parser(text)
	if err == nil {
		*into = value
	}
	return err
}

// share reads "3%" or "0.03".
func share(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(number, 64)
	if percent {
		value /= 100
	}
	return value, err
}

// rate reads "100mbit", "1.5gbit", "64kbit" or a number of bits.
func rate(text string) (int64, error) {
	unit := 1.0
	for suffix, factor := range map[string]float64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		if number, found := strings.CutSuffix(text, suffix); found {
			text, unit = number, factor
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	return int64(value * unit), err
}
