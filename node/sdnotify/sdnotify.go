// Package sdnotify tells systemd how the service is doing: sd_notify(3), which
// is one datagram per message, and nothing if systemd did not start us.
package sdnotify

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier speaks to systemd. Its zero value speaks to nobody. Any goroutine
// may use it; nothing waits, and a message that systemd cannot take is lost.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// FromEnv returns the notifier that the environment describes.
func FromEnv(getenv func(string) string) Notifier {
	n := Notifier{socket: getenv("NOTIFY_SOCKET")}
	if name, abstract := strings.CutPrefix(n.socket, "@"); abstract {
		n.socket = "\x00" + name
	}
	pid := getenv("WATCHDOG_PID")
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Ready says that the node does its work; status is shown by `systemctl status`.
func (n Notifier) Ready(status string) { n.send("READY=1\nSTATUS=" + oneLine(status)) }

// Status replaces what `systemctl status` shows.
func (n Notifier) Status(status string) { n.send("STATUS=" + oneLine(status)) }

// Stopping says that the node is on its way out.
func (n Notifier) Stopping() { n.send("STOPPING=1") }

// Watch feeds the watchdog, twice per period, for as long as healthy says so,
// until ctx ends. It returns at once if systemd does not watch. systemd kills
// and restarts a service that falls silent.
func (n Notifier) Watch(ctx context.Context, healthy func() bool) {
	if n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		if healthy() {
			n.send("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n Notifier) send(message string) {
	if n.socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(message))
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
