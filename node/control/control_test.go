package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeNode is a Source that says what a test wants it to.
type fakeNode struct {
	peers   PeersView
	status  StatusView
	routes  RoutesView
	pinging chan struct{} // gets one when a ping without end has begun
	joined  chan string
	left    chan struct{}
}

func (f *fakeNode) Peers() PeersView   { return f.peers }
func (f *fakeNode) Status() StatusView { return f.status }
func (f *fakeNode) Routes() RoutesView { return f.routes }
func (f *fakeNode) Ping(ctx context.Context, peer string, count int, emit func(PingReply)) error {
	switch peer {
	case "nobody":
		return fmt.Errorf("peer %q: %w", peer, ErrNotFound)
	case "endless":
		emit(PingReply{Seq: 1})
		f.pinging <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	case "flaky":
		emit(PingReply{Seq: 1, RTTMs: 12.5, Path: "relay", Via: "fra"})
		return errors.New("the link went down")
	}
	for i := range count {
		emit(PingReply{Seq: i + 1, RTTMs: 12.5, Path: "rawtcp"})
	}
	return nil
}
func (f *fakeNode) Join(_ context.Context, hostport string) error {
	f.joined <- hostport
	return nil
}
func (f *fakeNode) Leave(context.Context) error { close(f.left); return nil }
func (f *fakeNode) Fail(actor string) error {
	if actor != "routes" {
		return fmt.Errorf("actor %q: %w", actor, ErrNotFound)
	}
	panic("as asked")
}

func newFake() *fakeNode {
	rtt := 38.2
	return &fakeNode{
		peers: PeersView{
			Self:  SelfView{Name: "office", ID: "ab", Addresses: []string{"10.0.0.9/24"}, MTU: 1400},
			Peers: []PeerView{{Name: "fra", State: Alive, Link: LinkView{State: Up, Path: "rawtcp", RTTMs: &rtt}}},
		},
		status:  StatusView{Healthy: true, Actors: []ActorView{{Name: "root", State: "running", Children: []ActorView{{Name: "routes"}}}}, Drops: map[string]uint64{"replayed": 3}},
		routes:  RoutesView{Routes: []RouteView{{Prefix: "192.168.5.0/24", Node: "fra", Installed: true, Metric: 12}}},
		pinging: make(chan struct{}, 8), joined: make(chan string, 1), left: make(chan struct{}),
	}
}

// serve runs a server over a real socket until stop, which returns what Run did.
func serve(t *testing.T, source Source) (c *Client, socket *Socket, stop func() error) {
	t.Helper()
	socket, err := Listen(filepath.Join(t.TempDir(), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return NewClient(socket.Path()), socket, run(t, socket, source)
}

func run(t *testing.T, socket *Socket, source Source) (stop func() error) {
	t.Helper()
	s, err := New(Config{Socket: socket, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = func() error { cancel(); err := <-ended; ended <- err; return err }
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestViewsArriveAsTheyWereSent(t *testing.T) {
	fake := newFake()
	c, _, stop := serve(t, fake)
	peers, err := c.Peers(t.Context())
	if err != nil || !reflect.DeepEqual(peers, fake.peers) {
		t.Errorf("peers: %+v, %v", peers, err)
	}
	status, err := c.Status(t.Context())
	if err != nil || !reflect.DeepEqual(status, fake.status) {
		t.Errorf("status: %+v, %v", status, err)
	}
	routes, err := c.Routes(t.Context())
	if err != nil || !reflect.DeepEqual(routes, fake.routes) {
		t.Errorf("routes: %+v, %v", routes, err)
	}
	if err := c.Join(t.Context(), "a.example:9000"); err != nil || <-fake.joined != "a.example:9000" {
		t.Errorf("join: %v", err)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Errorf("leave: %v", err)
	}
	<-fake.left
	if err := stop(); err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
}

func TestPingStreamsAndSaysWhatWentWrong(t *testing.T) {
	fake := newFake()
	c, _, stop := serve(t, fake)
	var got []int
	collect := func(p PingReply) { got = append(got, p.Seq) }
	if err := c.Ping(t.Context(), "fra", 3, collect); err != nil || !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := c.Ping(t.Context(), "nobody", 1, collect); !errors.Is(err, ErrNotFound) || err.Error() != `peer "nobody": not found` {
		t.Errorf("got %v", err)
	}
	got = nil
	if err := c.Ping(t.Context(), "flaky", 2, collect); err == nil || err.Error() != "the link went down" || len(got) != 1 {
		t.Errorf("got %v after %v", err, got)
	}
	for _, count := range []int{0, -1, maxPings + 1} {
		if err := c.Ping(t.Context(), "fra", count, collect); err == nil || !strings.Contains(err.Error(), "count from 1") {
			t.Errorf("count %d: %v", count, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	if err := c.Ping(ctx, "endless", 9, func(PingReply) { cancel(enough) }); !errors.Is(err, enough) {
		t.Errorf("a cancelled ping returned %v", err)
	}
	<-fake.pinging
	go func() { <-fake.pinging; _ = stop() }()
	if err := c.Ping(t.Context(), "endless", 9, func(PingReply) {}); err == nil {
		t.Error("a ping that the stopping node cut off ended without an error")
	}
}

func TestAPanicInARequestIsAnsweredAndFailsTheActor(t *testing.T) {
	fake := newFake()
	socket, err := Listen(filepath.Join(t.TempDir(), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	s, err := New(Config{Socket: socket, Source: fake})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	c := NewClient(socket.Path())
	if err := c.Fail(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown actor: %v", err)
	}
	if err := c.Fail(t.Context(), "routes"); err == nil || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("the asker got %v", err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "panic: as asked") {
		t.Errorf("the actor returned %v", err)
	}
	run(t, socket, fake) // what a supervisor does next
	if _, err := c.Peers(t.Context()); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	c, _, _ := serve(t, newFake())
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "join", `{"seed": "a"}`, 400},
		{"POST", "join", `{"seed": 1}`, 400},
		{"POST", "join", `{"sed": "a:1"}`, 400},
		{"POST", "join", `{"seed": "a:1"} {}`, 400},
		{"POST", "join", ``, 400},
		{"POST", "join", `{"seed": "` + strings.Repeat("a", maxBody) + `:1"}`, 400},
		{"GET", "join", ``, 405},
		{"GET", "nothing", ``, 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://node/v1/"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || tt.status == 400 && !json.Valid(body) {
			t.Errorf("%s %s %.40s: %s %.100s", tt.method, tt.path, tt.body, resp.Status, body)
		}
	}
}

func TestOnlyOneNodePerSocketAndTheDeadAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "control.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600 | os.ModeSocket, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Listen(path); !errors.Is(err, ErrNodeRunning) {
		t.Errorf("a second node got %v", err)
	}
	// Death: the lock goes with the process, both files stay.
	if err := unix.Flock(int(first.lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	first.l.Close()
	if alive(path) {
		t.Fatal("the dead node answers")
	}
	next, err := Listen(path)
	if err != nil {
		t.Fatalf("the dead node's socket was not replaced: %v", err)
	}
	if !alive(path) {
		t.Error("the new node does not answer")
	}
	if err := errors.Join(next.Close(), next.Close()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFindSaysWhichNodeOrWhyNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(Where{RunDir: dir}); !errors.Is(err, ErrNoNode) {
		t.Errorf("no node: %v", err)
	}
	if _, err := Find(Where{StateDir: dir}); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), dir) {
		t.Errorf("no node in the state directory: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "tun9.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	for i, name := range []string{"tun0", "tun1"} {
		s, err := Listen(filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = Find(Where{RunDir: dir})
		if i == 0 && err != nil {
			t.Errorf("the only node was not found: %v", err)
		}
		if i == 1 && (err == nil || errors.Is(err, ErrNoNode) || err.Error() != "several nodes are running here; say which: --interface tun0, or --interface tun1") {
			t.Errorf("of two nodes: %v", err)
		}
	}
	if c, err := Find(Where{RunDir: dir, Interface: "tun1"}); err != nil || c.path != filepath.Join(dir, "tun1.sock") {
		t.Errorf("by interface: %v", err)
	}
	if _, err := Find(Where{RunDir: dir, Interface: "tun9"}); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), "--interface tun0, --interface tun1") {
		t.Errorf("a dead one by interface: %v", err)
	}
	if _, err := NewClient(filepath.Join(dir, "tun9.sock")).Peers(t.Context()); !errors.Is(err, ErrNoNode) {
		t.Errorf("asking a dead node: %v", err)
	}
}

func TestHealthOfAPeer(t *testing.T) {
	for _, tt := range []struct {
		state, problem string
		want           bool
	}{
		{Alive, "", true}, {Alive, "no answer", false}, {Suspect, "", false}, {Dead, "", false}, {Left, "the node was stopped", true},
	} {
		if got := (PeerView{State: tt.state, Link: LinkView{Error: tt.problem}}).Healthy(); got != tt.want {
			t.Errorf("%s %q: healthy is %v", tt.state, tt.problem, got)
		}
	}
}

func TestASocketNameThatIsTooLongSaysSo(t *testing.T) {
	_, err := Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 120), "control.sock"))
	if err == nil || !strings.Contains(err.Error(), "give a shorter --state-dir") {
		t.Errorf("got %v", err)
	}
}

// The names in JSON are what scripts parse: they may grow and never change.
func TestJSONNamesAreThoseOfTheContract(t *testing.T) {
	promised := map[any][]string{
		&SelfView{}:   {"name", "id", "addresses", "listen", "nat", "version", "interface", "mtu", "uptime_s"},
		&PeerView{}:   {"name", "id", "addresses", "state", "last_seen_s", "version", "nat", "routes", "link"},
		&LinkView{}:   {"state", "path", "endpoint", "via", "mtu", "rtt_ms", "loss_pct", "residual_loss_pct", "fec_data", "fec_parity", "rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "handshake_age_s", "why_not_direct"},
		&StatusView{}: {"healthy", "problems", "memory_bytes", "actors", "drops"},
		&ActorView{}:  {"name", "state", "restarts", "mailbox_depth", "mailbox_capacity", "dropped", "last_error", "children"},
		&RouteView{}:  {"prefix", "node", "installed", "metric", "why"},
		&PeersView{}:  {"self", "peers"},
		&RoutesView{}: {"routes"},
	}
	for view, names := range promised {
		text, err := json.Marshal(view)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if _, ok := got[n]; !ok {
				t.Errorf("%T has no %s", view, n)
			}
		}
	}
}
