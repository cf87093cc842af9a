package sdnotify

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func environment(vars map[string]string) func(string) string {
	return func(k string) string { return vars[k] }
}

func TestMessagesReachSystemd(t *testing.T) {
	for name, socket := range map[string]string{"path": filepath.Join(t.TempDir(), "notify"), "abstract": "@lightweight-tunnel-test-" + strconv.Itoa(os.Getpid())} {
		t.Run(name, func(t *testing.T) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			n := FromEnv(environment(map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}))
			n.Ready("3 peers\nup")
			n.Status("4 peers")
			n.Stopping()
			ctx, stop := context.WithCancel(t.Context())
			asked := 0
			n.Watch(ctx, func() bool {
				asked++
				if asked == 3 {
					stop()
				}
				return asked == 3
			})
			buf := make([]byte, 256)
			for _, want := range []string{"READY=1\nSTATUS=3 peers up", "STATUS=4 peers", "STOPPING=1", "WATCHDOG=1"} {
				k, err := c.Read(buf)
				if err != nil || string(buf[:k]) != want {
					t.Errorf("got %q, %v, want %q", buf[:k], err, want)
				}
			}
		})
	}
}

func TestNobodyIsToldWhenSystemdIsNotThere(t *testing.T) {
	for _, vars := range []map[string]string{
		nil,
		{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "gone")},
		{"WATCHDOG_USEC": "junk"},
		{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
	} {
		n := FromEnv(environment(vars))
		n.Ready("")
		n.Watch(t.Context(), func() bool { t.Error("the watchdog runs"); return true })
	}
}
