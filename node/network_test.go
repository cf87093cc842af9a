package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestAChangeOfAddressesOrOfTheDefaultRouteIsHeardButNotOfOtherRoutes(t *testing.T) {
	n := nstest.New(t)
	n.Run("ip link add eth0 type veth peer name p0", "ip link set p0 up", "ip addr add 192.168.1.7/24 dev eth0", "ip link set eth0 up",
		"ip link add tun7 type veth peer name p7", "ip link set p7 up", "ip link set tun7 up")
	var ip io.WriteCloser // commands for ip, as the thread of the namespace is busy
	batch := exec.Command("ip", "-batch", "-")
	var err error
	var thread int
	n.Do(func() {
		thread = unix.Gettid()
		if ip, err = batch.StdinPipe(); err == nil {
			err = batch.Start()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}, 64), make(chan error, 1)
	go n.Do(func() { ended <- hostChanges("tun7")(ctx, func() { heard <- struct{}{} }) })
	late := time.After(20 * time.Second)
	say := func(format string, args ...any) { fmt.Fprintf(ip, format+"\n", args...) }
	hears := func(what string) {
		t.Helper()
		select {
		case <-heard:
		case <-late:
			t.Fatalf("nothing was heard of %s", what)
		}
	}

	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !subscribed(thread) {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("it does not watch")
		}
	}

	// Of these the last alone matters; the kernel tells of them in order.
	say("addr add 10.0.0.2/24 dev tun7")
	say("route add 172.16.0.0/12 via 192.168.1.1")
	say("route add 0.0.0.0/1 dev tun7")
	say("addr change 192.168.1.7/24 dev eth0 valid_lft 1000 preferred_lft 1000")
	say("route add default via 192.168.1.1")
	hears("a default route")
	say("addr add 192.168.1.8/24 dev eth0")
	hears("an address")
	say("route del default")
	hears("the end of the default route")
	say("addr add 10.0.0.3/24 dev tun7")
	say("link set eth0 down")
	hears("an interface that goes down")
	select {
	case <-heard:
		t.Error("something was heard of what does not matter")
	default:
	}

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ip.Close()
	if err := batch.Wait(); err != nil {
		t.Error(err)
	}
}

// subscribed says whether a socket in the namespace of a thread of this process
// hears notifications of the kernel: netlink's protocol 0, groups.
func subscribed(thread int) bool {
	table, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/netlink", thread))
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "0" && strings.Trim(f[3], "0") != "" {
			return true
		}
	}
	return false
}
