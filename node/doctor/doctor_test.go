package doctor

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap"
	"github.com/openbmx/lightweight-tunnel/peerlink/udp"
	"github.com/openbmx/lightweight-tunnel/rawtcp"
	"github.com/openbmx/lightweight-tunnel/rawtcp/guard"
)

var (
	seedAddress = netip.MustParseAddrPort("203.0.113.1:9000")
	mapped      = netip.MustParseAddrPort("198.51.100.7:5000")
	inside      = netip.MustParseAddr("192.168.1.2")
)

// judged wants a verdict, words in what was found, and a fix unless it is OK.
type judged struct {
	check   Check
	verdict Verdict
	found   string
}

func TestVerdicts(t *testing.T) {
	all := unix.CAP_NET_ADMIN
	full := rights{known: true, effective: 1<<all | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_BPF}
	works := tun.Offloads{Checksum: true, TSO: true}
	now := born.AddDate(1, 0, 0)
	taken := port{network: "tcp", address: seedAddress, err: fmt.Errorf("reserve: %w", unix.EADDRINUSE)}
	by := func(p port, network, name string) port {
		p.network, p.holder = network, holder{pid: 7, name: name}
		return p
	}
	offer := func(p portmap.Protocol, external string, err error) portmap.Offer {
		o := portmap.Offer{Protocol: p, Err: err}
		if external != "" {
			o.External = netip.MustParseAddr(external)
		}
		return o
	}
	routed := func(offers ...portmap.Offer) router {
		return router{address: netip.MustParseAddr("192.168.1.1"), source: inside, offers: offers}
	}
	for name, c := range map[string]judged{
		"kernel":         {kernel{"6.1.0-18-amd64"}.judge(), OK, "Linux 6.1.0-18-amd64"},
		"oldest kernel":  {kernel{"5.4.0"}.judge(), OK, "5.4"},
		"old kernel":     {kernel{"4.19.2"}.judge(), Fail, "older than 5.4"},
		"odd kernel":     {kernel{"mine"}.judge(), Warn, `"mine"`},
		"rights":         {full.judge(), OK, "CAP_BPF"},
		"old root":       {rights{known: true, effective: 1<<all | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SYS_ADMIN}.judge(), OK, "there"},
		"no eBPF":        {rights{known: true, effective: 1<<all | 1<<unix.CAP_NET_RAW}.judge(), Warn, "CAP_BPF is not"},
		"no rights":      {rights{known: true}.judge(), Fail, "lacks CAP_NET_ADMIN and CAP_NET_RAW"},
		"unknown rights": {rights{}.judge(), Warn, "/proc"},

		"tun":            {device{tried: true, offloads: tun.Offloads{Checksum: true, TSO: true, USO: true}}.judge(), OK, "checksum tso uso"},
		"tun of old":     {device{tried: true, offloads: works}.judge(), OK, "checksum tso"},
		"slow tun":       {device{tried: true}.judge(), Warn, "without TCP segmentation"},
		"no tun":         {device{open: unix.ENOENT}.judge(), Fail, "no such file"},
		"forbidden tun":  {device{open: unix.EACCES}.judge(), Fail, "permission denied"},
		"tun fails":      {device{tried: true, err: unix.EPERM}.judge(), Fail, "not permitted"},
		"tun not tried":  {device{features: unix.IFF_VNET_HDR, err: errNoSandbox}.judge(), Warn, "not tried out"},
		"tun of 2.6.26":  {device{features: unix.IFF_TUN, err: errNoSandbox}.judge(), Fail, "IFF_VNET_HDR"},
		"fake tcp":       {guarded{tried: true, status: rawtcp.Status{Guard: "tcx", Receive: "ring"}}.judge(), OK, "away by tcx"},
		"slow fake tcp":  {guarded{tried: true, status: rawtcp.Status{Guard: "iptables"}}.judge(), Warn, "iptables"},
		"no fake tcp":    {guarded{tried: true, err: errors.New("nothing works here")}.judge(), Fail, "nothing works"},
		"fake tcp later": {guarded{err: errNoSandbox}.judge(), Warn, "not tried"},
		"udp":            {offload{send: udp.ModeGSO, receive: udp.ModeGRO}.judge(), OK, "udp gso"},
		"slow udp":       {offload{send: udp.ModeBatch, receive: udp.ModeGRO}.judge(), Warn, "sendmmsg"},
		"no udp":         {offload{err: unix.EPERM}.judge(), Warn, "no UDP"},

		"clock":         {clock{now: now, synced: true}.judge(), OK, "synchronised"},
		"free clock":    {clock{now: now}.judge(), Warn, "not synchronised"},
		"unset clock":   {clock{now: time.Unix(0, 0), synced: true}.judge(), Fail, "never set"},
		"unread clock":  {clock{now: now, err: unix.EPERM}.judge(), Warn, "cannot be read"},
		"network":       {underlay{name: "eth0", mtu: 1500, features: map[string]bool{"gro": true, "tso": false}}.judge(), OK, "eth0, MTU 1500, offloads: gro"},
		"unread":        {underlay{name: "ppp0", mtu: 1492}.judge(), OK, "ppp0, MTU 1492"},
		"no gro":        {underlay{name: "eth0", mtu: 1500, features: map[string]bool{"gro": false}}.judge(), Warn, "off: gro"},
		"veth":          {underlay{name: "eth0", kind: "veth", mtu: 1500, features: map[string]bool{"gro": false}}.judge(), OK, "MTU 1500"},
		"small":         {underlay{name: "eth0", mtu: 1200}.judge(), Warn, "MTU 1200"},
		"no route":      {underlay{}.judge(), Warn, "no default route"},
		"port":          {port{network: "tcp", address: seedAddress}.judge(), OK, "tcp 203.0.113.1:9000 is free"},
		"taken port":    {by(taken, "tcp", "nginx").judge(), Fail, "nginx (process 7)"},
		"taken by some": {taken.judge(), Fail, "another program"},
		"our port":      {by(taken, "tcp", "lightweight-tun").judge(), OK, "the node that runs here"},
		"taken udp":     {by(taken, "udp", "nginx").judge(), Warn, "will use another port"},
		"far address":   {port{network: "tcp", address: seedAddress, err: unix.EADDRNOTAVAIL}.judge(), Fail, "no address of this host"},
		"low port":      {port{network: "tcp", address: seedAddress, err: unix.EACCES}.judge(), Fail, "permission denied"},

		"clean":       {leftovers{}.judge(), OK, "no rules"},
		"rules left":  {leftovers{rules: []guard.Leftover{{What: "nft table x", Remove: "nft delete x"}}}.judge(), Warn, "nft table x"},
		"values left": {leftovers{sysctls: []string{"net.core.x"}}.judge(), Warn, "net.core.x"},
		"sock left":   {leftovers{sockets: []string{"/run/x.sock"}, err: unix.EPERM}.judge(), Warn, "/run/x.sock"},
		"unseen":      {leftovers{unproven: true}.judge(), Warn, "only root"},
		"unread left": {leftovers{err: unix.EPERM}.judge(), Warn, "cannot be looked for"},

		"opening router": {routed(offer(portmap.PCP, "", nil), offer(portmap.UPnP, "198.51.100.7", nil)).judge(), OK, "by pcp, upnp; its address outside is 198.51.100.7"},
		"refusing":       {routed(offer(portmap.UPnP, "", errors.New("the router says no"))).judge(), Warn, "says no"},
		"second NAT":     {routed(offer(portmap.NATPMP, "100.64.0.9", nil)).judge(), Warn, "itself behind NAT: its address outside, 100.64.0.9"},
		"public host":    {router{source: netip.MustParseAddr("45.67.8.9")}.judge(), OK, "not needed"},
		"no router":      {router{err: errors.New("there is none")}.judge(), OK, "there is none"},
	} {
		c.check.wants(t, name, c.verdict, c.found)
	}
}

func (c Check) wants(t *testing.T, name string, verdict Verdict, found string) {
	t.Helper()
	if c.Verdict != verdict || !strings.Contains(c.Found, found) || c.Name == "" {
		t.Errorf("%s: %s: %q; want %s: %q", name, c.Verdict, c.Found, verdict, found)
	}
	if (c.Fix == "") != (verdict == OK) {
		t.Errorf("%s: %s, fix %q", name, c.Verdict, c.Fix)
	}
}

func TestVerdictsOfSeeds(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
	open := stream{rtt: 12 * time.Millisecond}
	answers := stream{rtt: 12 * time.Millisecond, mapped: mapped}
	overUDP := answer{Addr: seedAddress, mapped: mapped, rtt: 13 * time.Millisecond}
	for name, c := range map[string]struct {
		seed    seed
		verdict Verdict
		found   string
	}{
		"both":        {seed{keyed: true, tcp: answers, udp: overUDP, packet: 1500}, OK, "over fake TCP in 12.0 ms and UDP in 13.0 ms"},
		"no UDP":      {seed{keyed: true, tcp: answers, udpErr: errSilent}, Warn, "not over UDP (no answer)"},
		"no TCP":      {seed{keyed: true, tcp: stream{err: refused}, udp: overUDP, packet: 1500}, Warn, "fake TCP does not pass (connection refused)"},
		"another":     {seed{keyed: true, tcp: open, udp: overUDP, packet: 1500}, Warn, "something else has the port"},
		"other key":   {seed{keyed: true, tcp: open, udpErr: errSilent}, Fail, "no node of the mesh answers to this key"},
		"nobody":      {seed{keyed: true, tcp: stream{err: refused}, udpErr: errSilent}, Fail, "connection refused"},
		"itself":      {seed{keyed: true, self: true, address: seedAddress}, Warn, "is this host itself"},
		"no name":     {seed{keyed: true, nameErr: errors.New("no such host")}, Fail, "no such host"},
		"without key": {seed{tcp: open}, OK, "give --key-file"},
		"silent":      {seed{tcp: stream{err: os.ErrDeadlineExceeded}}, Fail, "no answer"},
	} {
		c.seed.name = "seed.example.org:9000"
		c.seed.judge()[0].wants(t, name, c.verdict, c.found)
	}
	for packet, want := range map[int]judged{
		1500: {verdict: OK, found: "1500 bytes"}, 1486: {verdict: OK, found: "1486"},
		1480: {verdict: Warn, found: "1480"}, 0: {verdict: Warn, found: "not even IP packets of 1280"},
	} {
		checks := seed{name: "s:1", keyed: true, tcp: answers, udp: overUDP, packet: packet}.judge()
		if len(checks) != 2 {
			t.Fatalf("%d bytes: %+v", packet, checks)
		}
		checks[1].wants(t, fmt.Sprint(packet, " bytes"), want.verdict, want.found)
	}
}

func TestVerdictsOfNATAndWhatTheyMeanForDirectPaths(t *testing.T) {
	const independent, strict = nat.EndpointIndependent, nat.AddressAndPortDependent
	servers := []nat.Server{{Addr: seedAddress}}
	known := func(b nat.Behaviour) natted {
		return natted{seeds: true, servers: servers, behaviour: b, mapped: []netip.AddrPort{mapped}}
	}
	random := nat.Behaviour{Mapping: strict, Filtering: strict}
	for name, c := range map[string]struct {
		nat     natted
		opens   bool
		verdict Verdict
		found   string
		direct  Verdict
		means   string
	}{
		"none":            {known(nat.Behaviour{Mapping: nat.Direct, Filtering: independent}), false, OK, "none", OK, "with everybody"},
		"firewall":        {known(nat.Behaviour{Mapping: nat.Direct, Filtering: strict}), false, OK, "firewall", OK, "every NAT but symmetric with random"},
		"restricted":      {known(nat.Behaviour{Mapping: independent, Filtering: nat.AddressDependent}), false, OK, "restricted", OK, "with everybody"},
		"not measured":    {known(nat.Behaviour{Mapping: independent, Filtering: strict}), false, OK, "mapping lifetime unknown", OK, "every NAT but symmetric with random"},
		"port-restricted": {known(nat.Behaviour{Mapping: independent, Filtering: strict}), false, OK, "seen as " + mapped.String(), OK, "every NAT but symmetric with random"},
		"step":            {known(nat.Behaviour{Mapping: strict, Filtering: strict, Step: 1}), false, OK, "symm+1", OK, "can be predicted"},
		"random":          {known(random), false, OK, "symm", Warn, "through a relay"},
		"random, mapped":  {known(random), true, OK, "symm", OK, "by the port that the router opens"},
		"one server":      {natted{public: true, servers: servers, mapped: []netip.AddrPort{mapped}}, false, Warn, "one server alone", Warn, "not known"},
		"silence":         {natted{public: true, silent: []string{"a:1 (no answer)"}}, false, Warn, "nobody answers over UDP; asked a:1 (no answer)", Warn, "not known"},
		"nobody to ask":   {natted{}, false, Warn, "nobody to ask", Warn, "not known"},
		"late":            {natted{seeds: true, servers: servers}, false, Warn, "too late", Warn, "not known"},
		"no socket":       {natted{seeds: true, err: unix.EPERM}, false, Warn, "not permitted", Warn, "not known"},
	} {
		c.nat.judge().wants(t, name, c.verdict, c.found)
		c.nat.outlook(c.opens).wants(t, name, c.direct, c.means)
	}
}

func TestOnlyFailuresAreUnhealthy(t *testing.T) {
	if !healthy([]Check{{Verdict: OK}, {Verdict: Warn}}) || healthy([]Check{{Verdict: OK}, {Verdict: Fail}}) {
		t.Error("a warning is no failure, and a failure is")
	}
}

func TestTablesOfTheKernelAreRead(t *testing.T) {
	if r := parseRights("Name:\tx\nCapInh:\t0\nCapEff:\t000001ffffffffff\n"); !r.known || !r.has(unix.CAP_BPF) {
		t.Errorf("rights %+v", r)
	}
	if r := parseRights("CapEff:\tnone\n"); r.known {
		t.Errorf("rights %+v", r)
	}
	const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:2328 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
   3: 00000000:23
`
	if got := listeners(tcp, 9000); len(got) != 1 || got[0] != "4711" {
		t.Errorf("sockets of port 9000: %v", got)
	}
	for release, want := range map[string][2]int{"6.18.44": {6, 18}, "5.4": {5, 4}, "4.19-rc1": {4, 19}} {
		if major, minor, ok := version(release); !ok || [2]int{major, minor} != want {
			t.Errorf("%s: %d, %d, %v", release, major, minor, ok)
		}
	}
	for _, release := range []string{"", "6", "six.one", "6.", "-"} {
		if _, _, ok := version(release); ok {
			t.Errorf("%q is a release", release)
		}
	}
}

// What is read of a table stands in it.
func FuzzTablesOfTheKernel(f *testing.F) {
	f.Add("   0: 00000000:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n", uint16(9000))
	f.Add("   0: 00000000000000000000000000000000:2328 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4711\n", uint16(9000))
	f.Add("Name:\tx\nCapEff:\t000001ffffffffff\n", uint16(0))
	f.Add("6.18.44-1-amd64", uint16(1))
	f.Fuzz(func(t *testing.T, text string, port uint16) {
		for _, inode := range listeners(text, port) {
			if !slices.Contains(strings.Fields(text), inode) || inode == "0" {
				t.Errorf("socket %q of port %d", inode, port)
			}
		}
		if r := parseRights(text); r.known && !strings.Contains(text, "CapEff:") {
			t.Errorf("rights %+v", r)
		}
		if major, minor, ok := version(text); ok && (major < 0 || minor < 0) {
			t.Errorf("version %d.%d", major, minor)
		}
	})
}

func TestAPortsHolderIsNamed(t *testing.T) {
	held, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	address := netip.MustParseAddrPort(held.Addr().String())
	ports := findPorts([]netip.AddrPort{address})
	if len(ports) != 2 || ports[0].holder.pid != os.Getpid() || !ports[0].holder.ours() || !errors.Is(ports[0].err, unix.EADDRINUSE) {
		t.Errorf("%+v", ports)
	}
}

// A seed answers in records, behind whatever else it may say.
func TestASeedIsAskedInATCPConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	s := newSealing(&[32]byte{1})
	go func() {
		defer theirs.Close()
		in := bufio.NewReader(theirs)
		var prefix [record]byte
		if _, err := io.ReadFull(in, prefix[:]); err != nil {
			return
		}
		datagram := make([]byte, binary.BigEndian.Uint16(prefix[3:]))
		if _, err := io.ReadFull(in, datagram); err != nil {
			return
		}
		m, err := nat.ParseMessage(s.open(datagram))
		if err != nil || m.Class != nat.Request || m.Time.IsZero() {
			return
		}
		for _, body := range [][]byte{make([]byte, 60), s.seal(nat.Message{Class: nat.Success, ID: m.ID, Mapped: mapped}.Append(nil), 200)} {
			_, _ = theirs.Write(append(binary.BigEndian.AppendUint16([]byte{0x17, 3, 3}, uint16(len(body))), body...))
		}
	}()
	if got, err := s.askStream(ours); err != nil || got != mapped {
		t.Errorf("seen as %v, %v", got, err)
	}
}

func TestWhatSpeaksSomethingElseIsNoSeed(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	s := newSealing(nil)
	go func() {
		defer theirs.Close()
		_, _ = theirs.Read(make([]byte, 4096))
		_, _ = io.WriteString(theirs, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}()
	if got, err := s.askStream(ours); err == nil {
		t.Errorf("seen as %v", got)
	}
}

// What is tried out makes interfaces and rules elsewhere.
func TestTryingOutLeavesTheHostAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	inside := 0
	if err := sandbox(func() error {
		all, err := netlink.LinkList()
		inside = len(all)
		return errors.Join(err, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "doctor-test"}}))
	}); err != nil {
		t.Fatal(err)
	}
	if inside > len(links) {
		t.Errorf("%d interfaces inside, %d outside", inside, len(links))
	}
	if _, err := netlink.LinkByName("doctor-test"); err == nil {
		t.Error("what was made in the sandbox is outside")
	}
}
