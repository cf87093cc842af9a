package routes

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/routes/sysctl"
)

// inNamespace moves the test to a network namespace of its own, which ends with the test.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	ns.Close()
	addLink(t, "lo")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addLink makes an interface that is up and has these addresses; an existing one is set up.
func addLink(t *testing.T, name string, addresses ...string) netlink.Link {
	t.Helper()
	if _, err := netlink.LinkByName(name); err != nil {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "x"}))
		peer, err := netlink.LinkByName(name + "x")
		must(t, err)
		must(t, netlink.LinkSetUp(peer))
	}
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
	for _, a := range addresses {
		p := pfx(a)
		must(t, netlink.AddrAdd(l, &netlink.Addr{Flags: flagsFor(p),
			IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}))
	}
	return l
}

func flagsFor(p netip.Prefix) int {
	if p.Addr().Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// addRoute is a route of somebody else.
func addRoute(t *testing.T, l netlink.Link, prefix string, protocol, metric int) *netlink.Route {
	t.Helper()
	r := route(l.Attrs().Index, pfx(prefix))
	r.Protocol, r.Priority = netlink.RouteProtocol(protocol), metric
	must(t, netlink.RouteAdd(r))
	return r
}

// kernelRoutes lists the main table as "prefix dev proto", but for what the kernel makes itself.
func kernelRoutes(t *testing.T) (all []string) {
	t.Helper()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.RouteList(nil, family)
		must(t, err)
		for _, r := range list {
			if r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			l, err := netlink.LinkByIndex(r.LinkIndex)
			must(t, err)
			all = append(all, prefixOf(r.Dst).String()+" "+l.Attrs().Name+" "+r.Protocol.String())
		}
	}
	slices.Sort(all)
	return all
}

func wantRoutes(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := kernelRoutes(t); !slices.Equal(got, want) {
		t.Fatalf("the kernel has %q, want %q", got, want)
	}
}

func openKernel(t *testing.T, device string) *Kernel {
	t.Helper()
	k, err := NewKernel(KernelConfig{Device: func() string { return device }, Tune: true})
	must(t, err)
	t.Cleanup(k.Close)
	return k
}

func sync(t *testing.T, k *Kernel, want ...string) map[netip.Prefix]string {
	t.Helper()
	refused, err := k.Sync(pfxs(want...))
	must(t, err)
	return refused
}

func TestKernelRoutesFollowWhatIsWanted(t *testing.T) {
	inNamespace(t)
	addLink(t, "mesh0", "10.0.0.1/24", "fd00::1/64")
	k := openKernel(t, "mesh0")
	if r := sync(t, k, "192.168.2.0/24", "10.9.0.2/32", "2001:db8:2::/48"); len(r) != 0 {
		t.Fatal(r)
	}
	wantRoutes(t, "192.168.2.0/24 mesh0 108", "10.9.0.2/32 mesh0 108", "2001:db8:2::/48 mesh0 108")
	sync(t, k, "192.168.2.0/24", "192.168.3.0/24")
	wantRoutes(t, "192.168.2.0/24 mesh0 108", "192.168.3.0/24 mesh0 108")
	must(t, k.Clear())
	wantRoutes(t)
	filter, err := os.ReadFile("/proc/thread-self/net/dev")
	must(t, err)
	if !strings.Contains(string(filter), "mesh0") {
		t.Fatal("the test is not in its namespace")
	}
	if v, _ := (sysctl.Host{}).Get("net/ipv4/conf/mesh0/rp_filter"); v != "2" {
		t.Fatalf("reverse path filter is %s", v)
	}
}

func TestKernelRoutesOfAKilledProcessAreAdoptedOrRemoved(t *testing.T) {
	inNamespace(t)
	l := addLink(t, "mesh0", "10.0.0.1/24")
	addRoute(t, l, "192.168.2.0/24", Protocol, Metric)
	addRoute(t, l, "192.168.3.0/24", Protocol, Metric)
	k := openKernel(t, "mesh0")
	if r := sync(t, k, "192.168.3.0/24"); len(r) != 0 {
		t.Fatal(r)
	}
	wantRoutes(t, "192.168.3.0/24 mesh0 108")
}

func TestKernelRoutesOfOthersAreNeverTouched(t *testing.T) {
	inNamespace(t)
	mesh, eth, other := addLink(t, "mesh0", "10.0.0.1/24", "fd00::1/64"), addLink(t, "eth0", "172.16.5.7/24"), addLink(t, "mesh1", "10.1.0.1/24")
	addRoute(t, eth, "192.168.2.0/24", unix.RTPROT_STATIC, 0)
	addRoute(t, eth, "192.168.3.0/24", unix.RTPROT_DHCP, 4000) // ours would win by its metric
	addRoute(t, mesh, "192.168.4.0/24", unix.RTPROT_BOOT, 0)   // on our device, by hand
	addRoute(t, other, "192.168.5.0/24", Protocol, Metric)     // another node on this host
	addRoute(t, eth, "2001:db8:6::/48", unix.RTPROT_STATIC, 1024)
	before := kernelRoutes(t)
	k := openKernel(t, "mesh0")
	want := []string{"192.168.2.0/24", "192.168.3.0/24", "192.168.4.0/24", "192.168.5.0/24", "2001:db8:6::/48"}
	refused := sync(t, k, want...)
	for p, why := range map[string]string{
		want[0]: "192.168.2.0/24 dev eth0 proto static", want[1]: "dev eth0 proto dhcp", want[2]: "dev mesh0 proto boot",
		want[3]: "dev mesh1 proto 108", want[4]: "dev eth0 proto static",
	} {
		if !strings.Contains(refused[pfx(p)], why) {
			t.Errorf("%s: %q, want %q", p, refused[pfx(p)], why)
		}
	}
	wantRoutes(t, before...)
	sync(t, k, append(want, "192.168.9.0/24")...)
	must(t, k.Clear())
	wantRoutes(t, before...)
}

func TestKernelRouteGivesWayToAForeignOneThatComesLater(t *testing.T) {
	inNamespace(t)
	addLink(t, "mesh0", "10.0.0.1/24")
	eth := addLink(t, "eth0", "172.16.5.7/24")
	k := openKernel(t, "mesh0")
	sync(t, k, "192.168.2.0/24")
	foreign := addRoute(t, eth, "192.168.2.0/24", unix.RTPROT_STATIC, 900)
	if refused := sync(t, k, "192.168.2.0/24"); len(refused) != 1 {
		t.Fatal(refused)
	}
	wantRoutes(t, "192.168.2.0/24 eth0 static")
	must(t, netlink.RouteDel(foreign))
	sync(t, k, "192.168.2.0/24")
	wantRoutes(t, "192.168.2.0/24 mesh0 108")
}

func TestKernelDefaultRouteGoesInAsHalvesBesideTheHostsOwn(t *testing.T) {
	inNamespace(t)
	mesh, eth := addLink(t, "mesh0", "10.0.0.1/24", "fd00::1/64"), addLink(t, "eth0", "172.16.5.7/24")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.IPv4(172, 16, 5, 1), Protocol: unix.RTPROT_DHCP}))
	k := openKernel(t, "mesh0")
	if r := sync(t, k, "0.0.0.0/0", "::/0"); len(r) != 0 {
		t.Fatal(r)
	}
	wantRoutes(t, "0.0.0.0/0 eth0 dhcp", "0.0.0.0/1 mesh0 108", "128.0.0.0/1 mesh0 108", "::/1 mesh0 108", "8000::/1 mesh0 108")
	for to, link := range map[string]netlink.Link{"8.8.8.8": mesh, "203.0.113.9": mesh, "2001:db8::1": mesh, "172.16.5.9": eth} {
		r, err := netlink.RouteGet(addr(to).AsSlice())
		must(t, err)
		if r[0].LinkIndex != link.Attrs().Index {
			t.Errorf("%s goes elsewhere: %v", to, r[0])
		}
	}
	addRoute(t, eth, "128.0.0.0/1", unix.RTPROT_STATIC, 0)
	if r := sync(t, k, "0.0.0.0/0"); len(r) != 1 {
		t.Fatalf("half of it is somebody else's: %v", r)
	}
	wantRoutes(t, "0.0.0.0/0 eth0 dhcp", "128.0.0.0/1 eth0 static")
}

func TestKernelRoutesReturnWithTheDevice(t *testing.T) {
	inNamespace(t)
	k := openKernel(t, "mesh0")
	if r := sync(t, k, "192.168.2.0/24"); r[pfx("192.168.2.0/24")] != "the tunnel's interface is not there" {
		t.Fatal(r)
	}
	for range 2 {
		l := addLink(t, "mesh0", "10.0.0.1/24")
		<-k.Changes()
		sync(t, k, "192.168.2.0/24")
		wantRoutes(t, "192.168.2.0/24 mesh0 108")
		must(t, netlink.LinkDel(l))
		wantRoutes(t)
	}
	must(t, k.Clear()) // without a device there is nothing to remove
}

func TestKernelSaysWhyARouteThroughADeadInterfaceFails(t *testing.T) {
	inNamespace(t)
	must(t, netlink.LinkSetDown(addLink(t, "mesh0", "10.0.0.1/24")))
	if r := sync(t, openKernel(t, "mesh0"), "192.168.2.0/24"); !strings.Contains(r[pfx("192.168.2.0/24")], "interface is set down") {
		t.Fatal(r)
	}
}

func TestKernelTellsWhenSomebodyFlushesARoute(t *testing.T) {
	inNamespace(t)
	l := addLink(t, "mesh0", "10.0.0.1/24")
	k := openKernel(t, "mesh0")
	sync(t, k, "192.168.2.0/24")
	must(t, netlink.RouteDel(route(l.Attrs().Index, pfx("192.168.2.0/24"))))
	for len(kernelRoutes(t)) == 0 { // our own change makes a notification too
		<-k.Changes()
		sync(t, k, "192.168.2.0/24")
	}
	wantRoutes(t, "192.168.2.0/24 mesh0 108")
}

func TestKernelKnowsTheNetworksOfTheHost(t *testing.T) {
	inNamespace(t)
	addLink(t, "mesh0", "10.0.0.1/24", "fd00::1/64")
	eth := addLink(t, "eth0", "172.16.5.7/24", "2001:db8:5::7/64", "192.0.2.7/32")
	addRoute(t, eth, "198.51.100.1/32", unix.RTPROT_DHCP, 0)  // a gateway on link, as clouds have it
	addRoute(t, eth, "203.0.113.0/24", unix.RTPROT_STATIC, 0) // not a network that the host is in
	got, err := openKernel(t, "mesh0").Connected()
	must(t, err)
	if want := pfxs("172.16.5.0/24", "192.0.2.7/32", "198.51.100.1/32", "2001:db8:5::/64"); !slices.Equal(masked(got), want) {
		t.Fatalf("%v, want %v", masked(got), want)
	}
}

func TestForwardingOfARealHostIsPutBack(t *testing.T) {
	inNamespace(t)
	addLink(t, "eth0", "172.16.5.7/24")
	values := func() (all []string) {
		for _, n := range []string{forward4, forward6, "net/ipv4/conf/eth0/forwarding", "net/ipv6/conf/eth0/forwarding",
			"net/ipv6/conf/eth0/accept_ra", "net/ipv4/conf/lo/forwarding"} {
			v, err := sysctl.Host{}.Get(n)
			must(t, err)
			all = append(all, n+"="+v)
		}
		return all
	}
	must(t, sysctl.Host{}.Set("net/ipv4/conf/lo/forwarding", "1"))
	before := values()
	f, err := NewForwarding(ForwardingConfig{StateDir: t.TempDir(), Tune: true})
	must(t, err)
	if problems := f.Ensure(pfxs("192.168.1.0/24", "2001:db8::/48")); problems != nil {
		t.Fatal(problems)
	}
	if got := values(); got[0] != forward4+"=1" || got[1] != forward6+"=1" || got[4] != "net/ipv6/conf/eth0/accept_ra=2" {
		t.Fatal(got)
	}
	must(t, f.Restore())
	if got := values(); !slices.Equal(got, before) {
		t.Fatalf("%v, before %v", got, before)
	}
}
