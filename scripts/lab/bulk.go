package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bulk is one TCP stream that sends as fast as it can, from when StartBulk
// returns until Stop. Its congestion control is cubic, set on its socket:
// what the machine prefers must not matter (BBR would hide loss).
type Bulk struct {
	out, in net.Conn
	began   time.Time
	stop    chan struct{}
	wait    sync.WaitGroup

	mu       sync.Mutex
	arrivals []Arrived
	rtts     []time.Duration
	repeats  []time.Time // when segments were sent again, as seen by watch
	err      error
}

// Arrived is a piece of a stream at its receiver.
type Arrived struct {
	At    time.Time
	Bytes int
}

// StartBulk connects from one namespace to an address of another.
func StartBulk(ctx context.Context, from, to *Namespace, address string) (*Bulk, error) {
	listener, err := to.Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	until(ctx, listener.(*net.TCPListener))
	b := &Bulk{stop: make(chan struct{})}
	if b.out, err = from.Dial(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, fmt.Errorf("TCP from %s to %s: %w", from.Role, address, err)
	}
	if b.in, err = listener.Accept(); err == nil {
		err = control(b.out, func(fd int) error {
			return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
		})
	}
	if err != nil {
		b.out.Close()
		return nil, fmt.Errorf("TCP from %s to %s: %w", from.Role, address, err)
	}
	b.began = time.Now()
	b.wait.Go(b.send)
	b.wait.Go(b.receive)
	b.wait.Go(b.watch)
	return b, nil
}

func (b *Bulk) send() {
	for piece := make([]byte, 64<<10); ; {
		if _, err := b.out.Write(piece); err != nil {
			b.fail(err)
			return
		}
	}
}

func (b *Bulk) receive() {
	for buffer := make([]byte, 256<<10); ; {
		n, err := b.in.Read(buffer)
		b.mu.Lock()
		if n > 0 {
			b.arrivals = append(b.arrivals, Arrived{time.Now(), n})
		}
		b.mu.Unlock()
		if err != nil {
			b.fail(err)
			return
		}
	}
}

// watch asks the sender's socket for its round trip time again and again.
func (b *Bulk) watch() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for retransmitted := uint32(0); ; {
		select {
		case <-b.stop:
			return
		case <-tick.C:
		}
		if info, err := b.info(); err == nil {
			b.mu.Lock()
			b.rtts = append(b.rtts, time.Duration(info.Rtt)*time.Microsecond)
			if info.Total_retrans != retransmitted {
				retransmitted = info.Total_retrans
				b.repeats = append(b.repeats, time.Now())
			}
			b.mu.Unlock()
		}
	}
}

func (b *Bulk) info() (info *unix.TCPInfo, err error) {
	return info, control(b.out, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
}

// fail keeps the first error, unless it is our own doing.
func (b *Bulk) fail(err error) {
	select {
	case <-b.stop:
		return
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

// Err is why the connection ended before Stop; nil while it lives.
func (b *Bulk) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Bytes is what arrived from one time to another.
func (b *Bulk) Bytes(from, to time.Time) (sum int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.arrivals {
		if !a.At.Before(from) && a.At.Before(to) {
			sum += int64(a.Bytes)
		}
	}
	return sum
}

// LongestStall is the longest time between two arrivals, or between an
// arrival and either end, from one time to another.
func (b *Bulk) LongestStall(from, to time.Time) (longest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := from
	for _, a := range b.arrivals {
		if a.At.After(from) && a.At.Before(to) {
			longest, last = max(longest, a.At.Sub(last)), a.At
		}
	}
	return max(longest, to.Sub(last))
}

// RetransmissionBursts is how often segments were sent again from one time to
// another; what is less than a gap apart is one burst.
func (b *Bulk) RetransmissionBursts(from, to time.Time, gap time.Duration) (bursts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := time.Time{}
	for _, at := range b.repeats {
		if at.Before(from) || !at.Before(to) {
			continue
		}
		if at.Sub(last) >= gap {
			bursts++
		}
		last = at
	}
	return bursts
}

// Pace has the kernel send no more than so many Mbit/s from now on.
func (b *Bulk) Pace(mbps int) error {
	return control(b.out, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, mbps*1e6/8)
	})
}

// Stop ends the stream and reports on it.
func (b *Bulk) Stop() BulkReport {
	report := BulkReport{Took: time.Since(b.began)}
	if info, err := b.info(); err == nil {
		report.Retransmitted = int(info.Total_retrans)
	}
	report.Err = b.Err()
	close(b.stop)
	if tcp, ok := b.out.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what is under way does not matter any more
	}
	b.out.Close()
	b.in.Close()
	b.wait.Wait()
	report.Bytes = b.Bytes(b.began, b.began.Add(report.Took))
	if slices.Sort(b.rtts); len(b.rtts) > 0 {
		report.RTT = b.rtts[len(b.rtts)/2]
	}
	return report
}

// BulkReport is what a bulk stream did.
type BulkReport struct {
	Bytes         int64 // that the receiver's program got
	Took          time.Duration
	RTT           time.Duration // median of the sender's smoothed estimates
	Retransmitted int           // segments
	Err           error         // why it ended early, if it did
}

// Mbps is the goodput in Mbit/s.
func (r BulkReport) Mbps() float64 { return float64(r.Bytes) * 8 / r.Took.Seconds() / 1e6 }

// control calls f with a connection's file descriptor.
func control(c net.Conn, f func(fd int) error) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}
