package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

const (
	// differentJunk is how many packets a flood repeats in turn.
	differentJunk = 4096
	// floodBatch is the most that one system call sends.
	floodBatch = 128
	// maxBacklog is what a flood that was kept waiting makes up for: more at once
	// would be another kind of flood.
	maxBacklog = 50 * time.Millisecond
)

// TCP flags (RFC 9293, 3.1).
const (
	syn, rst, psh, ack = 2, 4, 8, 16
)

// junkPackets are IPv4 packets to the seed's port from addresses all over, some
// in the name of the site's own flow: for fake TCP half-open connections, data and
// resets of nobody's flow, and a little UDP; for UDP datagrams of all sizes.
func junkPackets(transport, siteAddress string, sitePort uint16) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	seed, site := netip.MustParseAddr(lab.ServerIPv4), netip.MustParseAddr(siteAddress)
	all := make([][]byte, differentJunk)
	for i := range all {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], r.Uint32())
		a[0] = 11 + a[0]%100 // neither private nor multicast
		from := netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+r.IntN(60000)))
		kind := i % 16
		if kind >= 14 { // the site's own, blindly
			from = netip.AddrPortFrom(site, sitePort)
		}
		junk := make([]byte, r.IntN(1200))
		for j := range junk {
			junk[j] = byte(r.Uint32())
		}
		switch {
		case transport == "udp", kind == 12, kind == 13:
			all[i] = udpPacket(from, seed, junk)
		case kind < 6:
			all[i] = tcpPacket(from, seed, syn, r, nil)
		case kind < 10, kind == 14:
			all[i] = tcpPacket(from, seed, ack|psh, r, junk)
		default:
			all[i] = tcpPacket(from, seed, rst, r, nil)
		}
	}
	return all
}

// ipPacket makes an IPv4 packet without its header's checksum, which the kernel fills in.
func ipPacket(from netip.Addr, to netip.Addr, protocol byte, body []byte) []byte {
	p := make([]byte, 20, 20+len(body))
	p[0], p[8], p[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(p[6:], 0x4000) // don't fragment
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	return append(p, body...)
}

func tcpPacket(from netip.AddrPort, to netip.Addr, flags byte, r *rand.Rand, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], seedPort)
	binary.BigEndian.PutUint32(b[4:], r.Uint32())
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(b[8:], r.Uint32())
	}
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 512)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], checksum(from.Addr(), to, unix.IPPROTO_TCP, b))
	return ipPacket(from.Addr(), to, unix.IPPROTO_TCP, b)
}

func udpPacket(from netip.AddrPort, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], seedPort)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[6:], checksum(from.Addr(), to, unix.IPPROTO_UDP, b))
	return ipPacket(from.Addr(), to, unix.IPPROTO_UDP, b)
}

// checksum is that of TCP and UDP (RFC 9293, 3.1), with the pseudo-header.
func checksum(from, to netip.Addr, protocol byte, segment []byte) uint16 {
	sum := uint32(protocol) + uint32(len(segment))
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	add(from.AsSlice())
	add(to.AsSlice())
	add(segment)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum == 0xffff {
		return 0xffff // 0 would say that a UDP datagram has none
	}
	return ^uint16(sum)
}

// flood sends packets at an even rate until stop.
type flood struct {
	conn  *ipv4.RawConn
	quit  chan struct{}
	done  chan struct{}
	began time.Time

	sent  uint64 // valid once done is closed, as are these
	took  time.Duration
	error error
}

// startFlood sends packets in turn, perSecond of them, from a host whose own
// address they need not bear.
func startFlood(from *lab.Namespace, packets [][]byte, perSecond int) (*flood, error) {
	f := &flood{quit: make(chan struct{}), done: make(chan struct{}), began: time.Now()}
	err := from.Do(func() error {
		conn, err := net.ListenPacket("ip4:255", "0.0.0.0") // IPPROTO_RAW: it receives nothing
		if err != nil {
			return err
		}
		if f.conn, err = ipv4.NewRawConn(conn); err != nil {
			return errors.Join(err, conn.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("flood from %s: %w", from.Role, err)
	}
	messages := make([]ipv4.Message, len(packets))
	for i, p := range packets {
		to, _ := netip.AddrFromSlice(p[16:20])
		messages[i] = ipv4.Message{Buffers: [][]byte{p}, Addr: &net.IPAddr{IP: to.AsSlice()}}
	}
	go f.run(messages, float64(perSecond))
	return f, nil
}

func (f *flood) run(messages []ipv4.Message, perSecond float64) {
	defer close(f.done)
	impair.Prompt() // the rate is part of what is measured
	next, credit, last := 0, 0.0, f.began
	for {
		select {
		case <-f.quit:
			f.took = time.Since(f.began)
			return
		default:
		}
		now := time.Now()
		credit = min(credit+now.Sub(last).Seconds()*perSecond, maxBacklog.Seconds()*perSecond)
		last = now
		if credit < 1 {
			pause := unix.NsecToTimespec(int64(time.Millisecond))
			_ = unix.Nanosleep(&pause, nil)
			continue
		}
		end := min(next+floodBatch, next+int(credit), len(messages))
		n, err := f.conn.WriteBatch(messages[next:end], 0)
		switch {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EPERM):
			n = 1 // that one did not leave, and is not counted
		case err != nil:
			f.error, f.took = fmt.Errorf("flood: %w", err), time.Since(f.began)
			return
		default:
			f.sent += uint64(n)
		}
		credit -= float64(n)
		next = (next + n) % len(messages)
	}
}

// stop ends the flood and says how many packets it has sent, and in which time.
func (f *flood) stop() (sent uint64, took time.Duration, err error) {
	close(f.quit)
	<-f.done
	return f.sent, f.took, errors.Join(f.error, f.conn.Close())
}
