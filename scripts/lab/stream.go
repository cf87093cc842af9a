package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
)

// Stream is a UDP stream at an even pace, as of a call or a game: each datagram
// is numbered and timed at both ends, which share this machine's clock.
type Stream struct {
	out  net.Conn
	in   *net.UDPConn
	size int
	stop chan struct{}
	wait sync.WaitGroup

	mu      sync.Mutex
	packets []Datagram // by number
	order   []int      // numbers as they arrived
}

// Datagram is one of a stream.
type Datagram struct {
	Sent    time.Time
	Arrived time.Time // zero if it is lost; the kernel's own time of the first copy
	Copies  int
}

// StartStream sends datagrams of a size (payload, at least 8) so many a second,
// from one namespace to an address of another, until Stop.
func StartStream(ctx context.Context, from, to *Namespace, address string, perSecond float64, size int) (*Stream, error) {
	in, err := to.ListenPacket(ctx, address)
	if err != nil {
		return nil, err
	}
	s := &Stream{in: in.(*net.UDPConn), size: size, stop: make(chan struct{})}
	err = control(s.in, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	})
	if err == nil {
		s.out, err = from.Dial(ctx, "udp", in.LocalAddr().String())
	}
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("UDP from %s to %s: %w", from.Role, address, err)
	}
	s.wait.Go(s.receive)
	s.wait.Go(func() { s.send(time.Duration(float64(time.Second) / perSecond)) })
	return s, nil
}

func (s *Stream) send(every time.Duration) {
	impair.Prompt() // the pace is part of what is measured
	payload := make([]byte, s.size)
	for due := time.Now(); ; due = due.Add(every) {
		if pause := time.Until(due); pause > 0 {
			t := unix.NsecToTimespec(int64(pause))
			_ = unix.Nanosleep(&t, nil)
		}
		select {
		case <-s.stop:
			return
		default:
		}
		s.mu.Lock()
		binary.BigEndian.PutUint64(payload, uint64(len(s.packets)))
		s.packets = append(s.packets, Datagram{Sent: time.Now()})
		s.mu.Unlock()
		// What the host refuses, as without a route, is lost like any other.
		_, _ = s.out.Write(payload)
	}
}

func (s *Stream) receive() {
	payload, oob := make([]byte, 65536), make([]byte, 128)
	for {
		n, oobn, _, _, err := s.in.ReadMsgUDP(payload, oob)
		if err != nil {
			return
		}
		at := time.Now()
		if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 && len(messages[0].Data) >= 16 {
			// struct timespec; 64 bits wide wherever the lab runs.
			at = time.Unix(int64(binary.NativeEndian.Uint64(messages[0].Data)), int64(binary.NativeEndian.Uint64(messages[0].Data[8:])))
		}
		s.mu.Lock()
		if number := int(binary.BigEndian.Uint64(payload)); n == s.size && number < len(s.packets) {
			p := &s.packets[number]
			if p.Copies++; p.Copies == 1 {
				p.Arrived = at
				s.order = append(s.order, number)
			}
		}
		s.mu.Unlock()
	}
}

// ArrivedOf says how many of the datagrams sent at or after a time have arrived.
func (s *Stream) ArrivedOf(since time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.packets) - 1; i >= 0 && !s.packets[i].Sent.Before(since); i-- {
		if s.packets[i].Copies > 0 {
			n++
		}
	}
	return n
}

// FirstArrivalOf is when the first of the datagrams sent at or after a time
// arrived; false if none has.
func (s *Stream) FirstArrivalOf(since time.Time) (first time.Time, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.packets) - 1; i >= 0 && !s.packets[i].Sent.Before(since); i-- {
		if p := s.packets[i]; p.Copies > 0 && (!any || p.Arrived.Before(first)) {
			first, any = p.Arrived, true
		}
	}
	return first, any
}

// pause ends the sending; what is under way may still arrive.
func (s *Stream) pause() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}

// Stop ends the stream, gives what is under way at most `patience` to arrive
// (less if everything has), and reports on it.
func (s *Stream) Stop(patience time.Duration) StreamReport {
	s.pause()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = Until(ctx, "all has arrived", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if missing := len(s.packets) - len(s.order); missing > 0 {
			return fmt.Errorf("%d are missing", missing)
		}
		return nil
	}) // or it is lost
	s.out.Close()
	s.in.Close()
	s.wait.Wait()
	return StreamReport{Packets: s.packets, order: s.order}
}

// StreamReport is what a stream did: every datagram that was sent.
type StreamReport struct {
	Packets []Datagram
	order   []int
}

// Between is the part of the stream that was sent from one time to another.
func (r StreamReport) Between(from, to time.Time) StreamReport {
	part := StreamReport{}
	first := 0
	for i, p := range r.Packets {
		if p.Sent.Before(from) {
			first = i + 1
		} else if p.Sent.Before(to) {
			part.Packets = append(part.Packets, p)
		}
	}
	for _, number := range r.order {
		if number >= first && number < first+len(part.Packets) {
			part.order = append(part.order, number-first)
		}
	}
	return part
}

// Lost is the share that never arrived.
func (r StreamReport) Lost() float64 {
	return float64(r.Missing()) / float64(max(1, len(r.Packets)))
}

// Missing is how many never arrived.
func (r StreamReport) Missing() int { return len(r.Packets) - len(r.order) }

// Duplicates is how many copies arrived of what had arrived already.
func (r StreamReport) Duplicates() (n int) {
	for _, p := range r.Packets {
		n += max(0, p.Copies-1)
	}
	return n
}

// Overtaken is how many arrived after one that was sent later.
func (r StreamReport) Overtaken() (n int) {
	newest := -1
	for _, number := range r.order {
		if number < newest {
			n++
		}
		newest = max(newest, number)
	}
	return n
}

// Delay is a quantile (0.5, 0.99) of the one-way delays of what arrived.
func (r StreamReport) Delay(quantile float64) time.Duration {
	delays := make([]time.Duration, 0, len(r.order))
	for _, number := range r.order {
		p := r.Packets[number]
		delays = append(delays, p.Arrived.Sub(p.Sent.Round(0))) // wall time at both ends
	}
	if len(delays) == 0 {
		return 0
	}
	slices.Sort(delays)
	return delays[min(len(delays)-1, int(quantile*float64(len(delays))))]
}

// FirstArrival is when the first datagram arrived at or after a time, whenever
// it was sent; false if none did.
func (r StreamReport) FirstArrival(since time.Time) (first time.Time, any bool) {
	for _, number := range r.order {
		at := r.Packets[number].Arrived
		if !at.Before(since.Round(0)) && (!any || at.Before(first)) {
			first, any = at, true
		}
	}
	return first, any
}
