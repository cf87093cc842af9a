package loss

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// More names of figures.
const (
	recovery = "traffic back after (s)"
	kept     = "arrived of what was sent meanwhile (%)"
	stall    = "stall (s)"
	survives = "the connection survives (1 = yes)"
)

const (
	before = 3 * time.Second // of undisturbed traffic
	give   = 8 * time.Second // for traffic to come back; longer counts as this
)

// blackhole swallows everything for 10 s under 50 packets a second.
func blackhole(ctx context.Context, w *way, _ time.Duration) (figures, error) {
	const length = 10 * time.Second
	stream, err := lab.StartStream(ctx, w.Left, w.Right, w.target, 50, 200)
	if err != nil {
		return nil, err
	}
	err = pause(ctx, before)
	began := time.Now()
	err = errors.Join(err, w.Line.Turn(impair.Both, "blackhole=on"), pause(ctx, length))
	healed := time.Now()
	w.Line.Heal(impair.Both)
	err = errors.Join(err, pause(ctx, give))
	report := stream.Stop(2 * time.Second)
	if err != nil {
		return nil, err
	}
	meanwhile := report.Between(began, healed)
	return figures{
		recovery:  since(report, healed),
		kept:      100 * (1 - meanwhile.Lost()),
		doubled:   float64(report.Duplicates()),
		overtaken: 100 * float64(report.Overtaken()) / float64(len(report.Packets)),
	}, w.honest()
}

// since is how long after a time the first datagram arrived, in seconds.
func since(report lab.StreamReport, t time.Time) float64 {
	first, any := report.FirstArrival(t)
	if !any {
		return give.Seconds()
	}
	return first.Sub(t.Round(0)).Seconds()
}

// fakeDead makes the 4-tuples that are in use disappear for good.
func fakeDead(ctx context.Context, w *way, _ time.Duration) (figures, error) {
	stream, err := lab.StartStream(ctx, w.Left, w.Right, w.target, 50, 200)
	if err != nil {
		return nil, err
	}
	err = pause(ctx, before)
	flows := w.Line.VanishSeen(impair.Both)
	died := time.Now()
	err = errors.Join(err, pause(ctx, give))
	report := stream.Stop(2 * time.Second)
	if err == nil && len(flows) == 0 {
		err = errors.New("no flow was seen on the line")
	}
	if err != nil {
		return nil, err
	}
	// What was on its way when the flow died does not count.
	after := report.Between(died, time.Now())
	return figures{recovery: since(after, died), kept: 100 * (1 - after.Lost())}, w.honest()
}

// newAddress gives the client another address under a TCP stream, as a phone
// gets when it changes networks.
func newAddress(ctx context.Context, w *way, _ time.Duration) (figures, error) {
	return disturb(ctx, w, func() error {
		_, err := w.Left.Shell(ctx, fmt.Sprintf("ip -4 addr flush dev %s; ip addr add 192.0.2.77/24 dev %[1]s", lab.PairDevice))
		return err
	})
}

// shrink makes the path narrower under a TCP stream and tells nobody.
func shrink(ctx context.Context, w *way, _ time.Duration) (figures, error) {
	return disturb(ctx, w, func() error { return w.Line.Turn(impair.Both, "mtu=1280") })
}

// disturb does something to the line under a TCP stream and watches it.
func disturb(ctx context.Context, w *way, do func() error) (figures, error) {
	began := time.Now()
	bulk, err := lab.StartBulk(ctx, w.Left, w.Right, w.target)
	if err != nil {
		return nil, err
	}
	err = pause(ctx, before)
	at := time.Now()
	if moved := bulk.Bytes(began, at); err == nil && moved < 100_000 {
		err = fmt.Errorf("only %d bytes arrived in %s, before anything was disturbed", moved, before)
	}
	err = errors.Join(err, do(), pause(ctx, give))
	end := time.Now()
	longest, last := bulk.LongestStall(at, end), bulk.Bytes(end.Add(-2*time.Second), end)
	report := bulk.Stop()
	if err != nil {
		return nil, err
	}
	f := figures{stall: longest.Seconds(), survives: 0, mbps: float64(last) * 8 / 2 / 1e6}
	if report.Err == nil && last > 0 {
		f[survives] = 1
	}
	return f, w.honest()
}
