package doctor

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// underlay is the interface by which this host reaches the internet.
type underlay struct {
	name     string // empty: there is none
	kind     string // of the device, such as veth; as `ip -d link` names it
	mtu      int
	features map[string]bool // on or off; what cannot be read is missing
}

// findUnderlay asks the kernel for the way to a public address; nothing is sent.
func findUnderlay() underlay {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return underlay{}
	}
	defer handle.Close()
	for _, far := range []net.IP{net.IPv4(1, 1, 1, 1), net.ParseIP("2606:4700:4700::1111")} {
		found, err := handle.RouteGet(far)
		if err != nil || len(found) == 0 {
			continue
		}
		link, err := handle.LinkByIndex(found[0].LinkIndex)
		if err != nil {
			continue
		}
		u := underlay{name: link.Attrs().Name, kind: link.Type(), mtu: link.Attrs().MTU, features: map[string]bool{}}
		for feature, command := range ethtoolCommands {
			if on, err := ethtool(u.name, command); err == nil {
				u.features[feature] = on
			}
		}
		return u
	}
	return underlay{}
}

// ethtoolCommands are those of linux/ethtool.h that read one feature.
var ethtoolCommands = map[string]uint32{
	"tso": 0x1e, // ETHTOOL_GTSO
	"gso": 0x23, // ETHTOOL_GGSO
	"gro": 0x2b, // ETHTOOL_GGRO
}

// ethtool reads a feature of an interface (SIOCETHTOOL, struct ethtool_value).
func ethtool(name string, command uint32) (on bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: command}
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return false, errno
	}
	return value.data != 0, nil
}

// leastMTU is that of IPv6 (RFC 8200, 5).
const leastMTU = 1280

func (u underlay) judge() Check {
	c := Check{Name: "network", Verdict: OK}
	if u.name == "" {
		c.Verdict, c.Found, c.Fix = Warn, "there is no default route: this host reaches its own networks only", "set one up, unless all nodes are in these networks"
		return c
	}
	var on, off []string
	for _, feature := range []string{"tso", "gso", "gro"} {
		if is, known := u.features[feature]; known && is {
			on = append(on, feature)
		} else if known {
			off = append(off, feature)
		}
	}
	c.Found = fmt.Sprintf("%s, MTU %d", u.name, u.mtu)
	if len(on) > 0 {
		c.Found += ", offloads: " + strings.Join(on, " ")
	}
	switch gro, known := u.features["gro"]; {
	case u.mtu < leastMTU:
		c.Verdict = Warn
		c.Fix = fmt.Sprintf("enlarge the MTU (`ip link set %s mtu 1500`) if the line takes it", u.name)
	case known && !gro && u.kind != "veth": // which passes on what others have merged
		c.Verdict = Warn
		c.Found += "; off: " + strings.Join(off, " ")
		c.Fix = fmt.Sprintf("`ethtool -K %s gro on`: without it receiving costs several times the CPU time", u.name)
	}
	return c
}
