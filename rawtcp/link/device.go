package link

import (
	"net"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const etherLen = 14

// device is what senders need to know of one network interface. It is replaced
// whole when the interface changes; only the refusals are learned later.
type device struct {
	index int
	name  string
	kind  linkKind
	mtu   int
	up    bool
	noARP bool
	mac   [6]byte
	// Bounds of a super-segment, in bytes (IPv4, IPv6) and in segments.
	gsoSize4, gsoSize6, gsoSegs int

	// refusesGSO and refusesPacket are set by senders when a slower way works
	// where the faster one was refused.
	refusesGSO, refusesPacket atomic.Bool
}

// linkKind says what stands in front of an IP header on a link.
type linkKind uint8

const (
	// linkOther: a link layer that we do not write; the kernel's IP layer must.
	linkOther linkKind = iota
	linkEther
	linkBare // nothing: PPP, TUN, WireGuard, IP in IP, GRE
)

func kindOf(encap string, hardware net.HardwareAddr) linkKind {
	switch encap {
	case "ether", "loopback":
		if len(hardware) == 6 || len(hardware) == 0 { // an address of zeros is left out
			return linkEther
		}
	case "none", "ppp", "ipip", "tunnel6", "sit", "gre", "void", "slip", "cslip", "unknown519", "unknown823":
		// 519: ARPHRD_RAWIP of mobile modems; 823: ARPHRD_IP6GRE.
		return linkBare
	}
	return linkOther
}

// The sizes a kernel before 5.18 uses without telling.
const (
	defaultGSOSize = 65536
	defaultGSOSegs = 65535
)

func newDevice(l netlink.Link) *device {
	a := l.Attrs()
	d := &device{
		index: a.Index, name: a.Name, mtu: a.MTU,
		kind:  kindOf(a.EncapType, a.HardwareAddr),
		up:    a.RawFlags&unix.IFF_UP != 0 && usable(a.OperState),
		noARP: a.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) != 0,
	}
	copy(d.mac[:], a.HardwareAddr)
	d.gsoSize6 = orDefault(a.GSOMaxSize, defaultGSOSize)
	d.gsoSize4 = d.gsoSize6
	if a.GSOIPv4MaxSize != 0 {
		d.gsoSize4 = int(a.GSOIPv4MaxSize)
	}
	d.gsoSegs = orDefault(a.GSOMaxSegs, defaultGSOSegs)
	return d
}

// usable says whether an interface in that state carries packets. Many drivers
// never leave "unknown".
func usable(s netlink.LinkOperState) bool {
	return s == netlink.OperUp || s == netlink.OperUnknown || s == netlink.OperDormant
}

func orDefault(v uint32, def int) int {
	if v == 0 {
		return def
	}
	return int(v)
}

// same says whether d still describes o, so that what was learned stays true.
func (d *device) same(o *device) bool {
	return d.index == o.index && d.name == o.name && d.kind == o.kind && d.mtu == o.mtu &&
		d.up == o.up && d.noARP == o.noARP && d.mac == o.mac &&
		d.gsoSize4 == o.gsoSize4 && d.gsoSize6 == o.gsoSize6 && d.gsoSegs == o.gsoSegs
}
