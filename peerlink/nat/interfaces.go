package nat

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// HostAddresses returns the usable addresses of all interfaces that are up, but
// those named in except (our own TUN device) and those that only lead to
// containers and virtual machines on this host.
func HostAddresses(except ...string) ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	skip := map[string]bool{}
	for _, name := range except {
		skip[name] = true
	}
	var all []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || skip[i.Name] || internal(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && usable(p.Addr().Unmap()) {
				all = append(all, p.Addr().Unmap())
			}
		}
	}
	return all, nil
}

// internal says whether an interface by its name is a bridge of Docker, libvirt
// or Kubernetes, whose addresses are the same on many hosts.
func internal(name string) bool {
	for _, prefix := range []string{"docker", "virbr", "veth", "cni", "flannel.", "cali", "lxcbr", "lxdbr"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	id, ok := strings.CutPrefix(name, "br-") // br-lan is a router's LAN
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
