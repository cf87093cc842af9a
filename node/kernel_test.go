package node

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// kernel is the IP stack behind a simulated TUN device: it answers echo requests
// for its own addresses and keeps everything else for the test.
type kernel struct {
	tun *simnet.Tun
	own []netip.Addr

	mu      sync.Mutex
	got     []ipPacket
	waiting map[echo]chan struct{}
	next    uint16
	gossip  func(ipPacket) // takes what is for the port of gossip; may be nil

	gossipSent func() [2]int64 // packets and bytes on the wire; only with gossip
}

// echo is what an answer to a ping is known by.
type echo struct {
	from    netip.Addr
	id, seq uint16
}

// ipPacket is a delivered packet and what a test asks of it.
type ipPacket struct {
	raw      []byte
	src, dst netip.Addr
	proto    byte
	body     []byte // behind the IP header
}

func newKernel(addresses []netip.Prefix) *kernel {
	k := &kernel{tun: simnet.NewTun(), waiting: map[echo]chan struct{}{}}
	for _, p := range addresses {
		k.own = append(k.own, p.Addr())
	}
	go k.run()
	return k
}

// run takes packets until the device is closed.
func (k *kernel) run() {
	for {
		raw, err := k.tun.Take(context.Background())
		if err != nil {
			return
		}
		k.take(parseIP(raw))
	}
}

func parseIP(raw []byte) ipPacket {
	p := ipPacket{raw: raw}
	if raw[0]>>4 == 4 {
		p.src, p.dst, p.proto = netip.AddrFrom4([4]byte(raw[12:])), netip.AddrFrom4([4]byte(raw[16:])), raw[9]
		p.body = raw[int(raw[0]&15)*4:]
		return p
	}
	p.src, p.dst, p.proto, p.body = netip.AddrFrom16([16]byte(raw[8:])), netip.AddrFrom16([16]byte(raw[24:])), raw[6], raw[40:]
	return p
}

func (k *kernel) take(p ipPacket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gossip != nil && p.proto == 17 && len(p.body) >= 8 && binary.BigEndian.Uint16(p.body[2:]) == gossipPort {
		k.gossip(p)
		return
	}
	if kind := p.icmp(); kind >= 0 && len(p.body) >= 8 {
		id, seq := binary.BigEndian.Uint16(p.body[4:]), binary.BigEndian.Uint16(p.body[6:])
		switch {
		case (kind == 8 || kind == 128) && slices.Contains(k.own, p.dst):
			k.tun.Inject(simnet.EchoReply(p.dst, p.src, id, seq, p.body[8:]))
			return
		case kind == 0 || kind == 129:
			if answered := k.waiting[echo{p.src, id, seq}]; answered != nil {
				delete(k.waiting, echo{p.src, id, seq})
				close(answered)
				return
			}
		}
	}
	k.got = append(k.got, p)
}

// icmp is the type of an ICMP or ICMPv6 message; -1 if p is none.
func (p ipPacket) icmp() int {
	if (p.proto == 1 || p.proto == 58) && len(p.body) > 0 {
		return int(p.body[0])
	}
	return -1
}

// payload is what a UDP packet carries.
func (p ipPacket) payload() string {
	if p.proto != 17 || len(p.body) < 8 {
		return ""
	}
	return string(p.body[8:])
}

// ping sends one echo request and waits for its answer; ok is false if none
// came in time.
func (k *kernel) ping(to netip.Addr, within time.Duration) (rtt time.Duration, ok bool) {
	from := k.source(to)
	k.mu.Lock()
	k.next++
	key, answered := echo{to, 77, k.next}, make(chan struct{})
	k.waiting[key] = answered
	k.mu.Unlock()
	began := time.Now()
	k.tun.Inject(simnet.Echo(from, to, key.id, key.seq, []byte("are you there?")))
	select {
	case <-answered:
		return time.Since(began), true
	case <-time.After(within):
		k.mu.Lock()
		delete(k.waiting, key)
		k.mu.Unlock()
		return 0, false
	}
}

// source is the own address from which the kernel would send to an address.
func (k *kernel) source(to netip.Addr) netip.Addr {
	for _, a := range k.own {
		if a.Is4() == to.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// say sends text as a UDP packet.
func (k *kernel) say(src, dst netip.Addr, text string) {
	k.tun.Inject(simnet.UDP(netip.AddrPortFrom(src, 5000), netip.AddrPortFrom(dst, 5000), []byte(text)))
}

// heard takes all that was delivered and not been taken.
func (k *kernel) heard() []ipPacket {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.got
	k.got = nil
	return all
}

// hears waits for a UDP packet with that text and returns it; ok is false if it
// does not come in time. What came besides stays.
func (k *kernel) hears(text string, within time.Duration) (p ipPacket, ok bool) {
	for began := time.Now(); ; <-time.After(5 * time.Millisecond) {
		k.mu.Lock()
		i := slices.IndexFunc(k.got, func(p ipPacket) bool { return p.payload() == text })
		if i >= 0 {
			p = k.got[i]
			k.got = slices.Delete(k.got, i, i+1)
		}
		k.mu.Unlock()
		if i >= 0 || time.Since(began) > within {
			return p, i >= 0
		}
	}
}
