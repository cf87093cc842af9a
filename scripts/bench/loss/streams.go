package loss

import (
	"context"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// The figures' names, as the report shows them.
const (
	mbps        = "goodput (Mbit/s)"
	wire        = "wire bytes per byte"
	wireBack    = "wire bytes back per byte"
	rtt         = "TCP's round trip (ms)"
	retransmits = "TCP's retransmits"
	residual    = "residual loss (%)"
	early       = "residual loss, first 2 s (%)"
	p50         = "added delay, median (ms)"
	p99         = "added delay, p99 (ms)"
	overtaken   = "out of order (%)"
	doubled     = "duplicates"
)

// tcp measures one stream from a cold start.
func tcp(ctx context.Context, w *way, length time.Duration) (figures, error) {
	bulk, err := lab.StartBulk(ctx, w.Left, w.Right, w.target)
	if err != nil {
		return nil, err
	}
	err = pause(ctx, length)
	there, back := w.wire()
	report := bulk.Stop()
	switch {
	case err != nil:
		return nil, err
	case report.Err != nil:
		return nil, fmt.Errorf("the connection ended: %w", report.Err)
	case report.Bytes == 0:
		return nil, fmt.Errorf("nothing arrived in %s", length)
	}
	return figures{
		mbps:        report.Mbps(),
		wire:        there / float64(report.Bytes),
		wireBack:    back / float64(report.Bytes),
		rtt:         ms(report.RTT),
		retransmits: float64(report.Retransmitted),
	}, w.honest()
}

// warmUp is how long a stream runs before its losses count in full: until then
// nobody can know them. What is lost meanwhile is a figure of its own.
const warmUp = 2 * time.Second

// udp measures a stream at an even pace.
func udp(perSecond float64, size int) func(context.Context, *way, time.Duration) (figures, error) {
	return func(ctx context.Context, w *way, length time.Duration) (figures, error) {
		began := time.Now()
		stream, err := lab.StartStream(ctx, w.Left, w.Right, w.target, perSecond, size)
		if err != nil {
			return nil, err
		}
		err = pause(ctx, length)
		there, back := w.wire()
		all := stream.Stop(time.Second)
		if err != nil {
			return nil, err
		}
		first, rest := all.Between(began, began.Add(warmUp)), all.Between(began.Add(warmUp), time.Now())
		if rest.Lost() == 1 {
			return nil, fmt.Errorf("nothing arrived in %s", length)
		}
		payload := float64(len(all.Packets) * size)
		return figures{
			residual:  100 * rest.Lost(),
			early:     100 * first.Lost(),
			p50:       ms(rest.Delay(0.5) - oneWay),
			p99:       ms(rest.Delay(0.99) - oneWay),
			overtaken: 100 * float64(rest.Overtaken()) / float64(len(rest.Packets)),
			doubled:   float64(all.Duplicates()),
			wire:      there / payload,
			wireBack:  back / payload,
		}, w.honest()
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
