package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure brings the new interface into its place in the network stack. It
// runs in the namespace of the calling thread and remembers that namespace.
func (d *Device) configure(cfg Config) error {
	var err error
	if d.rtnl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	if d.link, err = d.rtnl.LinkByName(d.name); err != nil {
		return fmt.Errorf("find interface %s: %w", d.name, err)
	}
	d.quietIPv6(cfg.Addresses)
	if err := d.rtnl.LinkSetTxQLen(d.link, cfg.TxQueue); err != nil {
		return fmt.Errorf("set queue length of %s to %d packets: %w", d.name, cfg.TxQueue, err)
	}
	if cfg.SuperSize > 0 {
		// Only a matter of speed: kernels may refuse it.
		if err := d.rtnl.LinkSetGSOMaxSize(d.link, cfg.SuperSize); err != nil {
			d.log.Debug("cannot bound super-packets", "interface", d.name, "bytes", cfg.SuperSize, "reason", err)
		}
	}
	if err := d.SetMTU(cfg.MTU); err != nil {
		return err
	}
	if err := d.SetAddresses(cfg.Addresses); err != nil {
		return err
	}
	if err := d.rtnl.LinkSetUp(d.link); err != nil {
		return fmt.Errorf("set %s up: %w", d.name, err)
	}
	d.up = true
	d.awaitIPv6()
	return nil
}

// awaitIPv6 waits until the host takes packets for the IPv6 addresses of the
// interface. The kernel puts a new address to use from a work queue of its own,
// also when there is no duplicate to detect, and until then throws away what comes for it.
func (d *Device) awaitIPv6() {
	const patience, step = time.Second, time.Millisecond
	look, late := time.NewTicker(step), time.After(patience)
	defer look.Stop()
	for _, p := range d.addresses {
		for p.Addr().Is6() && !d.local(p.Addr()) {
			select {
			case <-look.C:
			case <-late:
				d.log.Warn("address is not in use yet", "interface", d.name, "address", p)
				return
			}
		}
	}
}

// local says whether packets to a stay on this host.
func (d *Device) local(a netip.Addr) bool {
	found, err := d.rtnl.RouteGet(a.AsSlice())
	return err == nil && len(found) > 0 && found[0].Type == unix.RTN_LOCAL
}

// quietIPv6 keeps the kernel from giving the interface a link-local address
// and soliciting routers through the mesh, and makes IPv6 usable on it where
// the host switches it off by default. Neither is worth failing for: without IPv6
// the addresses themselves say so.
func (d *Device) quietIPv6(addresses []netip.Prefix) {
	if slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		enable := "/proc/sys/net/ipv6/conf/" + d.name + "/disable_ipv6"
		if err := os.WriteFile(enable, []byte("0"), 0o644); err != nil {
			d.log.Debug("cannot enable IPv6", "interface", d.name, "reason", err)
		}
	}
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	if err := d.rtnl.LinkSetIP6AddrGenMode(d.link, none); err != nil {
		d.log.Debug("cannot switch off IPv6 link-local address", "interface", d.name, "reason", err)
	}
}

// SetMTU changes the largest IP packet that the host sends into the interface,
// in bytes.
func (d *Device) SetMTU(mtu int) error {
	if err := d.rtnl.LinkSetMTU(d.link, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", d.name, mtu, err)
	}
	d.mtu = mtu
	return nil
}

// SetAddresses makes the given ones the addresses of the interface. Of those
// there already it removes only what an earlier call set: others may have added
// their own.
func (d *Device) SetAddresses(addresses []netip.Prefix) error {
	// Removal comes first: with the first address of an IPv4 subnet the kernel
	// may remove the others of that subnet too.
	for _, p := range d.addresses {
		if slices.Contains(addresses, p) {
			continue
		}
		if err := d.rtnl.AddrDel(d.link, address(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s from %s: %w", p, d.name, err)
		}
	}
	for _, p := range addresses {
		if err := d.rtnl.AddrReplace(d.link, address(p)); err != nil {
			return fmt.Errorf("give %s to %s: %w%s", p, d.name, err, d.remedy(p, err))
		}
	}
	d.addresses = slices.Clone(addresses)
	if d.up {
		d.awaitIPv6()
	}
	return nil
}

// address asks for no duplicate address detection: nobody on a tunnel could
// answer, and the address would be unusable for a second or two.
func address(p netip.Prefix) *netlink.Addr {
	bits := 8 * len(p.Addr().AsSlice())
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), bits)}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// remedy says what a user can do when the kernel does not take an address.
func (d *Device) remedy(p netip.Prefix, err error) string {
	if p.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
		return fmt.Sprintf(": IPv6 is off on this host; run `sysctl net.ipv6.conf.%s.disable_ipv6=0` or leave the IPv6 address out", d.name)
	}
	return ""
}
