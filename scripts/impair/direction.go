package impair

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// direction carries the frames of one way: from the ring of one device, by the
// decisions of a Line, to the sender of the other. All of it belongs to the
// goroutine in run.
type direction struct {
	in       *ring
	out      *sender
	line     *Line
	held     schedule
	requests chan func()
	bell     int // an eventfd: a request waits
	origin   time.Time
	latest   time.Duration // no arrival was later than this
	busy     time.Duration // when traffic was last seen
	host     Host
	batch    [maxBatch][]byte
	entries  [maxBatch]entry
}

// Host counts what the machine and not the line did to a direction. Unless all
// of it is zero, the line was worse than its profile.
type Host struct {
	Overrun uint64 `json:"overrun"` // came faster than we read, or more than we hold
	Refused uint64 `json:"refused"` // frames over the MTU of 1500, or without a checksum: turn TSO, GSO and tx checksums off at the senders
	Unsent  uint64 `json:"unsent"`  // the device did not take them
	Cable   uint64 `json:"cable"`   // ARP and neighbour discovery, passed on at once; these are no fault
}

const (
	// nap is the granularity of time while frames flow: nothing leaves early, or
	// later than this and the machine's own delay. Larger naps, fewer wake-ups.
	nap = 100 * time.Microsecond
	// watchful is how long after the last frame the ring is still looked at every nap.
	watchful = 5 * time.Millisecond
	// maxHeld bounds the frames under way, 128 MB of memory.
	maxHeld = 64 << 10
)

// run carries frames until stop is closed and the bell has been rung.
func (d *direction) run(stop <-chan struct{}) {
	Prompt() // a cable does not compete for the processor with what uses it
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for {
		d.receive()
		d.deliver()
		select {
		case request := <-d.requests:
			request()
			continue
		case <-stop:
			return
		default:
		}
		d.wait()
	}
}

func (d *direction) now() time.Duration { return time.Since(d.origin) }

// receive offers what has arrived to the line.
func (d *direction) receive() {
	clock := time.Now()
	now, wall := clock.Sub(d.origin), clock.UnixNano()
	for range 4 * maxBatch {
		a, any := d.in.peek()
		if !any {
			return
		}
		d.busy = now
		// By the kernel's own time: what waited for us in the ring has not
		// waited at the bottleneck.
		at := min(now, max(d.latest, now-time.Duration(wall-a.wall)))
		d.latest = at
		switch {
		case ofTheCable(a.frame):
			d.host.Cable++
			d.batch[0] = a.frame
			d.out.send(d.batch[:1])
		case !a.whole:
			d.host.Refused++
		default:
			decision := d.line.Offer(at, Packet{Bytes: len(a.frame), Flow: FlowOf(a.frame)})
			for range decision.Copies {
				if len(d.held.heap) >= maxHeld {
					d.host.Overrun++
					continue
				}
				d.held.push(decision.At, a.frame)
			}
		}
		d.in.advance()
	}
}

// deliver sends what is due.
func (d *direction) deliver() {
	for now := d.now(); ; {
		n := 0
		for ; n < maxBatch; n++ {
			e, frame, due := d.held.pop(now)
			if !due {
				break
			}
			d.entries[n], d.batch[n] = e, frame
		}
		if n == 0 {
			return
		}
		d.host.Unsent += uint64(n - d.out.send(d.batch[:n]))
		for _, e := range d.entries[:n] {
			d.held.release(e)
		}
	}
}

// wait sleeps until there is something to do.
func (d *direction) wait() {
	now := d.now()
	at, any := d.held.next()
	if any && at <= now {
		return
	}
	ears := []unix.PollFd{{Fd: int32(d.bell), Events: unix.POLLIN}, {Fd: int32(d.in.fd), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	switch {
	case d.line.profile.Delay >= 10*nap && now-d.busy < watchful:
		// Nothing that comes now is due soon: reading it a nap later, with the
		// time at which it came, costs nobody anything and spares a wake-up.
		ears = ears[:1]
		fallthrough
	case any:
		most := nap
		if any {
			most = max(most, at-now)
			if len(ears) == 1 {
				most = min(most, 5*nap)
			}
		}
		until := unix.NsecToTimespec(int64(most))
		timeout = &until
	}
	if n, err := unix.Ppoll(ears, timeout, nil); err != nil || n <= 0 {
		return
	}
	if ears[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(d.bell, count[:]) // the requests are in their channel
	}
	if len(ears) > 1 && ears[1].Revents&unix.POLLERR != 0 {
		// The device went down. To be told once is enough.
		_, _ = unix.GetsockoptInt(d.in.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	}
}

// ask runs f on the direction's goroutine and waits for it.
func (d *direction) ask(f func()) {
	done := make(chan struct{})
	d.requests <- func() { f(); close(done) }
	d.ring()
	<-done
}

// ring wakes the direction.
func (d *direction) ring() {
	_, _ = unix.Write(d.bell, []byte{1, 0, 0, 0, 0, 0, 0, 1}) // never zero, in either byte order
}

// openDirection opens its sockets in the calling thread's namespace.
func openDirection(from, to int, line *Line, origin time.Time) (d *direction, err error) {
	d = &direction{line: line, origin: origin, requests: make(chan func(), 1)}
	if d.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	if d.in, err = openRing(from); err == nil {
		if d.out, err = openSender(to); err == nil {
			return d, nil
		}
		d.in.close()
	}
	return nil, errors.Join(fmt.Errorf("device %d to %d: %w", from, to, err), unix.Close(d.bell))
}

// close releases the sockets once run has returned.
func (d *direction) close() {
	d.in.close()
	d.out.close()
	unix.Close(d.bell)
}
