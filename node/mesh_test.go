package node

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/pump"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/keys"
)

// mesh is a whole mesh in memory and in virtual time: every station is a real
// [Node] between a TUN device without a kernel and an internet without wires.
type mesh struct {
	t        *testing.T
	net      *simnet.Net
	overlay  *simnet.Overlay // carries gossip
	key      keys.MeshKey
	states   string // directory of the stations' state
	stations []*station
}

// station is one computer of a mesh, which can run a node, crash and come back.
type station struct {
	mesh   *mesh
	cfg    config.Config
	port   uint16 // of the transport; 0: it only dials
	host   *simnet.Host
	router *simnet.NAT // nil: it stands on the internet itself
	dir    string
	log    logLines
	gossip *simnet.Overlay
	key    keys.MeshKey
	hear   func(data []byte)          // is shown each datagram that the node receives; may be nil
	forge  func(data []byte) [][]byte // makes more of it, which the node receives as well; may be nil
	parts  func(*station, *Parts)     // changes what the node is put together from; may be nil

	tunnelled bool // gossip goes through the node's own links

	// Of the present run.
	*kernel
	node      *Node
	transport *simnet.Transport
	state     *keys.StateDir
	cancel    context.CancelFunc
	ended     chan struct{} // closed when Run has returned; nil: never started
	err       error         // of Run
}

// inMesh runs test in a bubble of virtual time and takes everything down after it.
func inMesh(t *testing.T, test func(t *testing.T, m *mesh)) {
	t.Helper()
	// All timers of a bubble share one context of the race detector, which two
	// threads that meet in it destroy (go1.26, unlockAndRun in runtime/time.go).
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		m := &mesh{t: t, net: simnet.New(1), overlay: simnet.NewOverlay(1), key: meshKey(t, "a mesh for tests")}
		m.states = memoryDir(t)
		t.Cleanup(m.close)
		test(t, m)
	})
}

// memoryDir returns a directory that is removed after the test, in memory if
// there is such a place: nodes sync what they write, and disks take their time.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mesh")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func meshKey(t *testing.T, text string) keys.MeshKey {
	t.Helper()
	secret := sha256.Sum256([]byte(text))
	key, err := keys.ParseMeshKey(config.NewKey(secret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// seedAddress is where seeds of tests listen, if there is one.
const seedAddress = "203.0.113.1:9000"

// seed puts a station on the internet that listens at address and has the
// overlay addresses.
func (m *mesh) seed(name, address, overlay string, change ...func(*station)) *station {
	m.t.Helper()
	at := netip.MustParseAddrPort(address)
	s := m.station(name, overlay, append([]func(*station){func(s *station) {
		s.cfg.Mode, s.cfg.Seeds, s.cfg.Listen, s.port = config.Server, nil, []netip.AddrPort{at}, at.Port()
	}}, change...))
	s.host = m.net.Host(name, at.Addr().String())
	s.start()
	return s
}

// site puts a station behind a router of its own, a port-restricted one unless
// the change says otherwise, and the overlay address 10.0.0.n.
func (m *mesh) site(n int, change ...func(*station)) *station {
	m.t.Helper()
	name := fmt.Sprintf("site-%d", n)
	s := m.station(name, fmt.Sprintf("10.0.0.%d/24", n), change)
	if s.router == nil {
		s.router = m.nat(n, simnet.PortRestricted)
	}
	s.host = s.router.Host(name, fmt.Sprintf("192.168.%d.10", n))
	s.start()
	return s
}

func (m *mesh) nat(n int, kind simnet.NATKind) *simnet.NAT {
	return m.net.NAT(fmt.Sprintf("router-%d", n), simnet.NATConfig{Kind: kind}, fmt.Sprintf("198.51.100.%d", n))
}

// sites starts the sites 2 to n+1.
func (m *mesh) sites(n int, change ...func(*station)) []*station {
	m.t.Helper()
	all := make([]*station, n)
	for i := range all {
		all[i] = m.site(i+2, change...)
	}
	return all
}

func (m *mesh) station(name, overlay string, change []func(*station)) *station {
	m.t.Helper()
	cfg := config.Default()
	cfg.Mode, cfg.Name, cfg.Version, cfg.Seeds = config.Client, name, "test", []string{seedAddress}
	for _, a := range strings.Fields(overlay) {
		cfg.Addresses = append(cfg.Addresses, netip.MustParsePrefix(a))
	}
	s := &station{mesh: m, cfg: cfg, gossip: m.overlay, key: m.key, dir: filepath.Join(m.states, name)}
	for _, c := range change {
		c(s)
	}
	m.identify(s)
	m.stations = append(m.stations, s)
	return s
}

// identify gives s an identity made of its name, so that whoever is the smaller
// of two is so in every run.
func (m *mesh) identify(s *station) {
	m.t.Helper()
	seed := sha256.Sum256([]byte(s.cfg.Name))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	data, err := json.Marshal(map[string]any{"version": 1, "id": fmt.Sprintf("%x", []byte(public)), "seed": seed[:], "created": time.Now()})
	if err == nil {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "identity.json"), data, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// start runs a node on the station, with the identity that it has on disk.
func (s *station) start() {
	t := s.mesh.t
	t.Helper()
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatalf("start %s: %v", s.cfg.Name, err)
		}
	}
	s.state, err = keys.OpenStateDir(s.dir)
	must()
	identity, _, err := keys.LoadIdentity(s.state, time.Now())
	must()
	book, err := keys.OpenRosterBook(s.state)
	must()
	s.transport, err = s.host.Open(s.port)
	must()
	s.kernel = newKernel(s.cfg.Addresses)
	parts := Parts{
		Identity: identity, MeshKey: s.key, Book: book,
		Overlay:  simOverlay{s.kernel.tun, s.cfg.Interface},
		Underlay: &simUnderlay{Transport: s.transport, listen: s.cfg.Listen, hear: s.hear, forge: s.forge},
		Gossip: func() (memberlist.Transport, error) {
			t := s.gossip.Join(s.address().String(), gossipPort)
			if s.tunnelled {
				return newTunnelledGossip(t, s.kernel), nil
			}
			return t, nil
		},
	}
	if s.parts != nil {
		s.parts(s, &parts)
	}
	s.node, err = New(s.cfg, parts, hclog.New(&hclog.LoggerOptions{Name: s.cfg.Name, Output: &s.log, Level: hclog.Debug}))
	must()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		s.err = s.node.Run(ctx)
	}()
}

// address is the station's first address on the overlay.
func (s *station) address() netip.Addr { return s.cfg.Addresses[0].Addr() }

// stop ends the node in good order.
func (s *station) stop() {
	s.mesh.t.Helper()
	s.cancel()
	<-s.ended
	if s.err != nil {
		s.mesh.t.Errorf("%s ended: %v", s.cfg.Name, s.err)
	}
	s.clear()
}

// crash takes the station away as a power failure does: nobody hears a word.
func (s *station) crash() {
	s.host.Crash()
	s.gossip.Crash(s.address().String())
	s.cancel()
	<-s.ended
	s.clear()
}

// clear takes away what a run of the node has left.
func (s *station) clear() {
	s.cancel = nil
	s.transport.Close()
	s.kernel.tun.Close()
	s.state.Close()
}

// restart runs a node again after a stop or a crash.
func (s *station) restart() {
	s.mesh.t.Helper()
	s.host.Restart()
	s.start()
}

func (m *mesh) close() {
	for _, s := range m.stations {
		if s.cancel != nil {
			s.stop()
		}
		if bad := s.kernel.tun.Bad(); len(bad) > 0 {
			m.t.Errorf("%s wrote packets that no kernel takes: %v", s.cfg.Name, bad)
		}
		if m.t.Failed() && !testing.Short() {
			m.t.Logf("log of %s:\n%s", s.cfg.Name, s.log.tail(400))
		}
	}
	m.pass(time.Minute) // what memberlist has begun ends with its own deadlines
}

// pass lets virtual time pass.
func (m *mesh) pass(d time.Duration) { <-time.After(d) }

// eventually waits in virtual time until ok, and returns how long it took.
func (m *mesh) eventually(limit time.Duration, what string, ok func() bool) time.Duration {
	m.t.Helper()
	began := time.Now()
	for !ok() {
		if m.pass(10 * time.Millisecond); time.Since(began) > limit {
			m.t.Fatalf("after %v still not: %s", limit, what)
		}
	}
	return time.Since(began)
}

// reach waits until a gets an answer to a ping of b, and returns how long it took.
func (m *mesh) reach(limit time.Duration, a, b *station) time.Duration {
	m.t.Helper()
	return m.reachAddr(limit, a, b.address())
}

func (m *mesh) reachAddr(limit time.Duration, a *station, to netip.Addr) time.Duration {
	m.t.Helper()
	began := time.Now()
	for {
		if _, ok := a.ping(to, 250*time.Millisecond); ok {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			m.t.Fatalf("%s does not reach %s in %v", a.cfg.Name, to, limit)
		}
	}
}

// reachAll waits until every station reaches every other.
func (m *mesh) reachAll(limit time.Duration, all ...*station) {
	m.t.Helper()
	deadline := time.Now().Add(limit)
	for _, a := range all {
		for _, b := range all {
			if a != b {
				m.reach(time.Until(deadline), a, b)
			}
		}
	}
}

// drops is how often the node dropped something for that reason.
func (s *station) drops(reason pump.Reason) uint64 {
	return source{s.node}.drops()[reason.String()]
}

// simOverlay and simUnderlay are the two seams on a simulated network.
type simOverlay struct {
	tun  *simnet.Tun
	name string
}

func (o simOverlay) Name() string             { return o.name }
func (o simOverlay) Queues() []Queue          { return []Queue{simQueue{o.tun}} }
func (o simOverlay) USO() bool                { return true }
func (o simOverlay) Drops() map[string]uint64 { return map[string]uint64{"tun_full": o.tun.Full()} }

type simQueue struct{ *simnet.Tun }

func (q simQueue) Sink() pump.Sink { return q.Tun }

type simUnderlay struct {
	*simnet.Transport
	listen []netip.AddrPort
	hear   func([]byte)
	forge  func([]byte) [][]byte
}

// Run closes the transport in an orderly stop, as the one of a machine does.
func (u *simUnderlay) Run(ctx context.Context) error {
	<-ctx.Done()
	if orderly(ctx) {
		return u.Close()
	}
	return context.Cause(ctx)
}

func (u *simUnderlay) Drops() map[string]uint64 { return nil }

func (u *simUnderlay) Describe() Transport {
	return Transport{Guard: "none", Send: "memory", Receive: "memory", Listen: u.listen}
}
