package tun

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestDeviceIsUpAndAddressedWhenOpenReturns(t *testing.T) {
	s := newSpace(t)
	d := s.open(t, Config{Addresses: prefixes("10.77.0.1/24", "fd77::1/64")})
	if d.Name() != "tun0" || d.MTU() != 1400 || !d.Offloads().TSO {
		t.Fatalf("%s, MTU %d, offloads %s", d.Name(), d.MTU(), d.Offloads())
	}
	l := s.link("tun0")
	a := l.Attrs()
	if a.Index != d.Index() || a.MTU != 1400 || a.RawFlags&unix.IFF_UP == 0 || a.TxQLen != 500 {
		t.Fatalf("link %+v", a)
	}
	if tt := l.(*netlink.Tuntap); tt.NonPersist != true {
		t.Fatal("the interface is persistent")
	}
	if got := addressesOf(s, l); !slices.Equal(got, prefixes("10.77.0.1/24", "fd77::1/64")) {
		t.Fatalf("addresses %v", got)
	}
	s.do(func() {
		for _, to := range []string{"10.77.0.9", "fd77::9"} {
			r, err := netlink.RouteGet(netip.MustParseAddr(to).AsSlice())
			if err != nil || r[0].LinkIndex != d.Index() {
				t.Errorf("route to %s: %v, %v", to, r, err)
			}
		}
	})
}

// addressesOf fails none, but shows an address that is still being probed as invalid.
func addressesOf(s *space, l netlink.Link) (all []netip.Prefix) {
	s.do(func() {
		list, _ := netlink.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range list {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				all = append(all, netip.Prefix{})
				continue
			}
			ip, _ := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			all = append(all, netip.PrefixFrom(ip.Unmap(), bits))
		}
	})
	return all
}

func TestDeviceTakesTheNextFreeNumberUnlessTheNameWasAskedFor(t *testing.T) {
	s := newSpace(t)
	first := s.open(t, Config{})
	second := s.open(t, Config{})
	other := s.open(t, Config{Name: "mesh7", Asked: true})
	if first.Name() != "tun0" || second.Name() != "tun1" || other.Name() != "mesh7" {
		t.Fatalf("names %s %s %s", first.Name(), second.Name(), other.Name())
	}
	_, err := s.tryOpen(Config{Name: "mesh7", Asked: true})
	if err == nil || !strings.Contains(err.Error(), "mesh7 exists already") {
		t.Fatalf("taken name: %v", err)
	}
	if third := s.open(t, Config{Name: "mesh7"}); third.Name() != "mesh0" {
		t.Fatalf("third is %s", third.Name())
	}
	first.Close()
	if again := s.open(t, Config{}); again.Name() != "tun0" {
		t.Fatalf("after Close the name is not free: %s", again.Name())
	}
}

func TestDeviceLeavesAPersistentInterfaceOfOthersAlone(t *testing.T) {
	s := newSpace(t)
	s.do(func() {
		err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: unix.IFF_TUN,
			Flags: unix.IFF_NO_PI | unix.IFF_VNET_HDR})
		if err != nil {
			t.Errorf("make a persistent interface: %v", err)
		}
	})
	if _, err := s.tryOpen(Config{Name: "tun0", Asked: true}); err == nil {
		t.Fatal("took over a persistent interface")
	}
	if d := s.open(t, Config{}); d.Name() != "tun1" {
		t.Fatalf("opened %s", d.Name())
	}
}

func TestDeviceChangesItsAddressesAndKeepsThoseOfOthers(t *testing.T) {
	s := newSpace(t)
	d := s.open(t, Config{Addresses: prefixes("10.77.0.1/24", "10.77.0.2/24")})
	l := s.link(d.Name())
	s.do(func() {
		if err := netlink.AddrAdd(l, address(netip.MustParsePrefix("192.0.2.1/32"))); err != nil {
			t.Error(err)
		}
		if err := errors.Join(d.SetAddresses(prefixes("10.77.0.2/24", "fd77::2/64")), d.SetMTU(1280)); err != nil {
			t.Error(err)
		}
	})
	got := addressesOf(s, l)
	slices.SortFunc(got, netip.Prefix.Compare)
	if want := prefixes("10.77.0.2/24", "192.0.2.1/32", "fd77::2/64"); !slices.Equal(got, want) {
		t.Fatalf("addresses %v, want %v", got, want)
	}
	if mtu := s.link(d.Name()).Attrs().MTU; mtu != 1280 || d.MTU() != 1280 {
		t.Fatalf("MTU %d", mtu)
	}
}

func TestDeviceWithIPv6WorksWhereTheHostSwitchesIPv6Off(t *testing.T) {
	s := newSpace(t)
	s.do(func() {
		for _, which := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	d := s.open(t, Config{Addresses: prefixes("fd77::1/64")})
	if got := addressesOf(s, s.link(d.Name())); !slices.Equal(got, prefixes("fd77::1/64")) {
		t.Fatalf("addresses %v", got)
	}
}

func TestDeviceRefusesAnImpossibleConfig(t *testing.T) {
	for want, cfg := range map[string]Config{
		"interface name": {Name: "has space", MTU: 1400},
		"letters":        {Name: "far-too-long-name", MTU: 1400},
		"MTU 100":        {MTU: 100},
		"MTU 70000":      {MTU: 70000},
		"IPv6 needs":     {MTU: 1000, Addresses: prefixes("fd77::1/64")},
		"not valid":      {MTU: 1400, Addresses: []netip.Prefix{{}}},
		"queues":         {MTU: 1400, Queues: 300},
	} {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// childName makes this test binary open a device and wait to be killed.
const childName = "TUN_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childName); name != "" {
		d, err := Open(Config{Name: name, Asked: true, MTU: 1400, Queues: 2, Addresses: prefixes("10.77.0.1/24")})
		fmt.Println(err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		d.Close()
		return
	}
	os.Exit(m.Run())
}

func TestKilledProcessLeavesNoInterfaceBehind(t *testing.T) {
	s := newSpace(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childName+"=tun5")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "<nil>\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	if s.link("tun5") == nil {
		t.Fatal("the child's interface is not there")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if s.link("tun5") != nil {
		t.Fatal("the interface outlived its process")
	}
}

func TestIPv6AddressTakesPacketsAsSoonAsItIsSet(t *testing.T) {
	s := newSpace(t)
	for range 15 {
		d := s.open(t, Config{Addresses: prefixes("fd77::1/64")})
		if !d.local(netip.MustParseAddr("fd77::1")) {
			t.Fatal("not after Open")
		}
		if err := d.SetAddresses(prefixes("fd77::2/64")); err != nil || !d.local(netip.MustParseAddr("fd77::2")) {
			t.Fatalf("not after SetAddresses: %v", err)
		}
		d.Close()
	}
}
