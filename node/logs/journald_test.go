package logs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const journald = "/lib/systemd/systemd-journald"

// startJournald runs a real journald that sees directories of its own in place
// of the machine's, and returns the path of its socket and of its journal.
func startJournald(t *testing.T) (socket, directory string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat(journald); err != nil {
		t.Skip("needs systemd-journald (package systemd)")
	}
	dir := t.TempDir()
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	// Nothing of the kernel's own log or audit may be touched by this one.
	script := `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal /run/etc
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToKMsg=no\nForwardToConsole=no\nForwardToWall=no\nRateLimitBurst=0\nRuntimeMaxUse=512M\nRuntimeMaxFileSize=128M\n' >/run/systemd/journald.conf.d/test.conf
test -s /etc/machine-id || { echo 0123456789abcdef0123456789abcdef >/run/etc/machine-id; touch /etc/machine-id; mount --bind /run/etc/machine-id /etc/machine-id; }
exec ` + journald
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("needs a mount namespace: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended); ready.Close() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if err := ready.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := ready.Read(buf)
		if err != nil {
			t.Fatalf("journald did not become ready: %v\n%s", err, said.String())
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			break
		}
	}
	root := fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)
	return root + "/run/systemd/journal/socket", root + "/run/log/journal"
}

func TestARealJournalTakesEveryKeyAsAField(t *testing.T) {
	socket, directory := startJournald(t)
	w, stderr := pipe(t)
	log, journal, err := New(Options{Format: "journal", Output: w, Socket: socket, Level: "debug"})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MB: beyond the usual net.core.wmem_max
	link := log.Named("link/fra").With("peer", "fra")
	link.Info("up", "path", "rawtcp 203.0.113.9:9000", "rtt-ms", 38)
	link.Error("two\nlines", "reason", "first\nsecond=third")
	log.Trace("below the level")
	link.Debug("long", "dump", long)
	huge := strings.Repeat("x", 9<<20) // beyond any socket buffer: goes as a sealed memory file
	link.Warn("huge", "dump", huge)
	log.Info("last")

	read := exec.Command("journalctl", "--directory", directory, "-o", "json", "--all", "-f", "-n", "all", "-t", identifier)
	out, err := read.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Start(); err != nil {
		t.Skipf("needs journalctl: %v", err)
	}
	t.Cleanup(func() { _ = read.Process.Kill(); _ = read.Wait() })
	guard := time.AfterFunc(30*time.Second, func() { _ = read.Process.Kill() })
	defer guard.Stop()
	got := map[string]map[string]any{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for got["last"] == nil && lines.Scan() {
		var e map[string]any
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		message, _, _ := strings.Cut(e["MESSAGE"].(string), ":")
		got[message] = e
	}
	if len(got) != 5 {
		t.Fatalf("the journal has %d entries, want 5 (dropped %d, stderr %q)", len(got), journal.Dropped(), stderr())
	}
	for message, want := range map[string]map[string]string{
		"up":         {"PRIORITY": "6", "SYSLOG_IDENTIFIER": identifier, "ACTOR": "link/fra", "PEER": "fra", "PATH": "rawtcp 203.0.113.9:9000", "RTT_MS": "38"},
		"two\nlines": {"PRIORITY": "3", "ACTOR": "link/fra", "PEER": "fra", "REASON": "first\nsecond=third"},
		"long":       {"PRIORITY": "7", "DUMP": long},
		"huge":       {"PRIORITY": "4", "DUMP": huge},
		"last":       {"PRIORITY": "6"},
	} {
		for name, value := range want {
			if got[message][name] != value {
				t.Errorf("%q: %s is %.80v, want %.80q", message, name, got[message][name], value)
			}
		}
	}
	if got["last"]["_PID"] != fmt.Sprint(os.Getpid()) {
		t.Errorf("_PID is %v", got["last"]["_PID"])
	}
}
