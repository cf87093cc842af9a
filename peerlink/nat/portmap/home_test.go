package portmap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
	"golang.org/x/sys/unix"
)

// home is a host behind a router of its own, in namespaces: a strict Linux router
// that masquerades and runs miniupnpd. 9.9.9.0/24 is its internet.
type home struct {
	t                     *testing.T
	host, router, outside *nstest.NS
	config                string // path of miniupnpd's configuration
	running               *exec.Cmd
	ended                 chan struct{} // closed when running has ended
}

const (
	inside  = "192.168.77.2"
	gateway = "192.168.77.1"
	wan     = "9.9.9.1"
	far     = "9.9.9.2"
)

// patienceInTests is what no wait should need.
const patienceInTests = 90 * time.Second

func newHome(t *testing.T) *home {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat(lab.MiniUPnPd); err != nil {
		t.Skip("needs miniupnpd (scripts/deps.sh test installs it)")
	}
	h := &home{t: t, router: nstest.New(t), config: filepath.Join(t.TempDir(), "miniupnpd.conf")}
	h.host = nstest.Behind(t, h.router, gateway+"/24", inside+"/24")
	h.outside = nstest.Behind(t, h.router, wan+"/24", far+"/24")
	h.host.Run("ip route add default via " + gateway)
	h.router.Run("sysctl -qw net.ipv4.ip_forward=1")
	h.file("rules.nft", fmt.Sprintf(`table inet home {
		chain input { type filter hook input priority 0; policy accept; iifname %[1]s ct state new drop; }
		chain forward { type filter hook forward priority 0; policy drop;
			ct state invalid drop; ct state established,related accept; iifname %[2]s accept; jump upnp; }
		chain upnp { }
		chain prerouting { type nat hook prerouting priority -100; jump upnp_pre; }
		chain upnp_pre { }
		chain postrouting { type nat hook postrouting priority 100; jump upnp_post; oifname %[1]s masquerade; }
		chain upnp_post { }
	}`, h.device(wan), h.device(gateway)), "nft -f ")
	h.configure(h.device(wan))
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			out, _ := h.router.Try("nft list ruleset")
			said, _ := os.ReadFile(h.config + ".log")
			t.Logf("the router's rules:\n%s\nminiupnpd said:\n%s", out, said)
		}
	})
	return h
}

// configure writes the daemon's configuration.
func (h *home) configure(wan string) {
	text := lab.MiniUPnPdConfig(wan, h.device(gateway), "home", "192.168.77.0/24")
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// file writes a file and runs a command in the router with its path.
func (h *home) file(name, text, command string) {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.router.Run(command + path)
}

// device is the name of the router's interface that has an address.
func (h *home) device(address string) string {
	h.t.Helper()
	words := strings.Fields(h.router.Run("ip -o -4 addr show to " + address))
	if len(words) < 2 {
		h.t.Fatalf("the router has no %s", address)
	}
	return words[1]
}

// start runs the daemon and returns when it answers.
func (h *home) start() {
	h.t.Helper()
	log, err := os.OpenFile(h.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	h.running = exec.Command(lab.MiniUPnPd, "-d", "-f", h.config, "-P", h.config+".pid")
	h.running.Stdout, h.running.Stderr = log, log
	// It must not survive the test, however that ends: the thread is the router's.
	h.running.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.router.Do(func() { err = h.running.Start() })
	if err != nil {
		h.t.Fatal(err)
	}
	h.ended = make(chan struct{})
	go func(daemon *exec.Cmd, ended chan struct{}) {
		_ = daemon.Wait() // how it ended is in its log
		close(ended)
	}(h.running, h.ended)
	h.until("miniupnpd listens", func() bool {
		select {
		case <-h.ended:
			h.t.Fatal("miniupnpd has ended")
		default:
		}
		out, _ := h.router.Try("ss -Hlun sport = 5351")
		return strings.Contains(out, "5351")
	})
}

func (h *home) stop() {
	if h.running == nil {
		return
	}
	_ = h.running.Process.Signal(syscall.SIGTERM)
	<-h.ended
	h.running = nil
}

// until asks again and again.
func (h *home) until(what string, holds func() bool) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patienceInTests); ; <-tick.C {
		if holds() {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// onHost runs f on a thread of its own, so that the host's stays free for commands.
func (h *home) onHost(f func()) {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	var space *os.File
	var err error
	h.host.Do(func() { space, err = os.Open("/proc/thread-self/ns/net") })
	if err == nil {
		defer space.Close()
		err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		h.t.Errorf("enter the host: %v", err)
	}
	f()
}

// mapping is a mapper at work on the host.
type mapping struct {
	*Mapper
	h       *home
	changed chan struct{}
	cancel  context.CancelFunc
	ended   chan error
}

func (h *home) run(cfg Config) *mapping {
	h.t.Helper()
	m := &mapping{h: h, changed: make(chan struct{}, 64), ended: make(chan error, 1)}
	cfg.Published = &Published{}
	cfg.Changed = func() { m.changed <- struct{}{} }
	cfg.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: h.t.Output()})
	var err error
	if m.Mapper, err = New(cfg); err != nil {
		h.t.Fatal(err)
	}
	m.rest = 0
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go h.onHost(func() { m.ended <- m.Run(ctx) })
	h.t.Cleanup(func() { m.end() })
	return m
}

func (m *mapping) end() time.Duration {
	began := time.Now()
	m.cancel()
	if err, ok := <-m.ended; ok {
		if err != nil {
			m.h.t.Errorf("run: %v", err)
		}
		close(m.ended)
	}
	return time.Since(began)
}

// becomes waits until the published state is as wanted.
func (m *mapping) becomes(what string, wanted func(*State) bool) *State {
	m.h.t.Helper()
	end := time.After(patienceInTests)
	for {
		if s := m.cfg.Published.State(); wanted(s) {
			return s
		}
		select {
		case <-m.changed:
		case <-end:
			m.h.t.Fatalf("waited in vain until %s; it is %+v", what, *m.cfg.Published.State())
		}
	}
}

func isOpen(s *State) bool { return len(s.Mappings) > 0 }

// passes sends datagrams from outside to the mapped port until the socket of the
// host gets one.
func (h *home) passes(external netip.AddrPort, socket *net.UDPConn) {
	h.t.Helper()
	got := make(chan error, 1)
	_ = socket.SetReadDeadline(time.Now().Add(patienceInTests))
	go func() {
		_, _, err := socket.ReadFromUDPAddrPort(make([]byte, 64))
		got <- err
	}()
	var sender net.Conn
	var err error
	h.outside.Do(func() { sender, err = net.Dial("udp4", external.String()) })
	if err != nil {
		h.t.Fatal(err)
	}
	defer sender.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = sender.Write([]byte("from outside"))
		select {
		case err := <-got:
			if err != nil {
				h.t.Fatalf("no datagram came in through %s: %v", external, err)
			}
			return
		case <-tick.C:
		}
	}
}

// socket opens a UDP socket on the host.
func (h *home) socket() (*net.UDPConn, Port) {
	h.t.Helper()
	var socket *net.UDPConn
	var err error
	h.host.Do(func() { socket, err = net.ListenUDP("udp4", nil) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { socket.Close() })
	return socket, Port{UDP, socket.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
}

// redirects says whether the router forwards a port of its own.
func (h *home) redirects(external netip.AddrPort) bool {
	h.t.Helper()
	return strings.Contains(h.router.Run("nft list chain inet home upnp_pre"), fmt.Sprintf("dport %d ", external.Port()))
}
