package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPairReachesItselfInBothFamiliesUnderEveryOffloadSetting(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	for i, offload := range []Offload{AsVeth, ReceiverGRO, NoOffload} {
		pair, err := l.NewPair(ctx, fmt.Sprintf("p%d-", i), offload)
		must(t, err)
		must(t, pair.Left.Reaches(ctx, PairRight4))
		must(t, pair.Right.Reaches(ctx, PairLeft6))
		features, err := pair.Right.Run(ctx, "ethtool", "-k", PairDevice)
		must(t, err)
		tso, gro := "on", "off" // what veth has
		switch offload {
		case ReceiverGRO:
			tso, gro = "off", "on"
		case NoOffload:
			tso, gro = "off", "off"
		}
		for _, want := range []string{"tcp-segmentation-offload: " + tso, "generic-receive-offload: " + gro} {
			if !strings.Contains(features, want) {
				t.Errorf("%v: no %q in\n%s", offload, want, features)
			}
		}
	}
}

func TestStarTranslatesWhatLeavesAndDropsWhatIsUnsolicited(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	for _, nat66 := range []bool{false, true} {
		star, err := l.NewStar(ctx, StarConfig{Sites: 2, NAT66: nat66, LANs: true, Name: map[bool]string{false: "r", true: "n"}[nat66]})
		must(t, err)
		for i, site := range star.Sites {
			capture, err := star.Server.Capture(ctx, "wan0", "icmp or icmp6")
			must(t, err)
			must(t, site.Reaches(ctx, ServerIPv4))
			must(t, site.Reaches(ctx, ServerIPv6))
			must(t, site.LAN.Reaches(ctx, site.LANHost4))
			must(t, site.Reaches(ctx, site.LANHost6))
			must(t, capture.Finish(ctx))
			rows, err := capture.Fields(ctx, "icmp.type == 8 or icmpv6.type == 128", "ip.src", "ipv6.src")
			must(t, err)
			seen := fmt.Sprint(rows)
			if !strings.Contains(seen, site.PublicIPv4) || !strings.Contains(seen, site.PublicIPv6) {
				t.Errorf("site %d, NAT66 %v: the server saw %s, want %s and %s", i+1, nat66, seen, site.PublicIPv4, site.PublicIPv6)
			}
			before, err := site.Router.Counter(ctx, "unsolicited")
			must(t, err)
			if _, err := star.Server.Ping(ctx, site.PublicIPv4, 1, 1); err == nil {
				t.Error("the router answered what is new from outside")
			}
			after, err := site.Router.Counter(ctx, "unsolicited")
			must(t, err)
			if after != before+1 {
				t.Errorf("unsolicited went from %d to %d, want one more", before, after)
			}
		}
	}
}

func TestSnapshotNamesWhatChangedAndNothingElse(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	n, err := l.Namespace(ctx, "host")
	must(t, err)
	before, err := n.Snapshot(ctx)
	must(t, err)
	same, err := n.Snapshot(ctx)
	must(t, err)
	if diff := before.Diff(same); diff != "" {
		t.Errorf("nothing happened, and yet:\n%s", diff)
	}
	_, err = n.Shell(ctx, `
ip tuntap add dev tun7 mode tun
ip addr add 10.9.9.1/24 dev tun7
ip link set tun7 up
ip rule add fwmark 7 table 77
ip route add blackhole 10.8.0.0/16
nft add table inet left
iptables -A INPUT -p tcp --dport 9000 -j DROP
echo 1 > /proc/sys/net/ipv4/ip_forward
tc qdisc add dev lo clsact`)
	must(t, err)
	after, err := n.Snapshot(ctx)
	must(t, err)
	diff := before.Diff(after)
	for _, want := range []string{"links: + ", "tun7", "10.9.9.1/24", "fwmark 0x7", "blackhole 10.8.0.0/16", "table inet left", "--dport 9000",
		"/proc/sys/net/ipv4/ip_forward:1", "qdisc clsact"} {
		if !strings.Contains(diff, want) {
			t.Errorf("the difference does not show %q:\n%s", want, diff)
		}
	}
}

func TestProcessTellsItsWordsItsCostAndItsEnd(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	n, err := l.Namespace(ctx, "host")
	must(t, err)
	p, err := n.Start(Command{Path: "sh", Args: []string{"-c", `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo ready; exec sleep 600`}})
	must(t, err)
	must(t, p.Says(ctx, "ready"))
	cpu, err := p.CPU()
	must(t, err)
	rss, err := p.PeakRSS()
	must(t, err)
	if cpu == 0 || rss < 100_000 {
		t.Errorf("a loop cost %s and %d bytes", cpu, rss)
	}
	_, err = p.Stop(ctx)
	must(t, err)
	if err := p.Says(ctx, "more"); err == nil || !strings.Contains(err.Error(), "it ended") {
		t.Errorf("waiting for the words of a process that has ended gave: %v", err)
	}
}

func TestUntilGivesTheLastReasonWhenTimeIsUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	err := Until(ctx, "the moon turns green", func() error {
		if looks++; looks == 3 {
			cancel()
		}
		return fmt.Errorf("look %d: white", looks)
	})
	if err == nil || !strings.Contains(err.Error(), "the moon turns green") || !strings.Contains(err.Error(), "white") {
		t.Errorf("got %v", err)
	}
	if err := Until(ctx, "it is so already", func() error { return nil }); err != nil {
		t.Errorf("the first look needs no time, and yet: %v", err)
	}
}

func TestCloseEndsEverythingInTheLab(t *testing.T) {
	ForTest(t)
	ctx := timeout(t, 20*time.Second)
	l, err := New()
	must(t, err)
	n, err := l.Namespace(ctx, "host")
	must(t, err)
	p, err := n.Start(Command{Path: "sleep", Args: []string{"600"}})
	must(t, err)
	must(t, l.Close())
	must(t, p.Wait(ctx))
	if _, err := os.Stat("/run/netns/" + n.Name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace is still there: %v", err)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// TestMain lets this test binary be the process that dies in the test below.
func TestMain(m *testing.M) {
	if os.Getenv("LAB_VICTIM") == "" {
		os.Exit(m.Run())
	}
	l, err := New()
	if err != nil {
		panic(err)
	}
	n, err := l.Namespace(context.Background(), "victim")
	if err != nil {
		panic(err)
	}
	if _, err := n.Start(Command{Path: "sleep", Args: []string{"600"}}); err != nil {
		panic(err)
	}
	fmt.Println(n.Name, l.Dir())
	select {}
}

func TestNothingOutlivesAProcessThatIsKilled(t *testing.T) {
	ForTest(t)
	ctx := timeout(t, 20*time.Second)
	victim := exec.CommandContext(ctx, os.Args[0])
	victim.Env = append(os.Environ(), "LAB_VICTIM=1")
	out, err := victim.StdoutPipe()
	must(t, err)
	must(t, victim.Start())
	var name, dir string
	_, err = fmt.Fscan(out, &name, &dir)
	must(t, err)
	if _, err := os.Stat("/run/netns/" + name); err != nil {
		t.Fatal(err)
	}
	must(t, victim.Process.Kill())
	_ = victim.Wait() // it was killed
	must(t, Until(ctx, "the dead process's lab goes away", func() error {
		for _, path := range []string{"/run/netns/" + name, dir} {
			if _, err := os.Stat(path); err == nil {
				return errors.New(path + " is still there")
			}
		}
		return nil
	}))
}

func TestWhatADeadLabLeftIsReapedAndTheLivingAreSpared(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	mine, err := l.Namespace(ctx, "mine")
	must(t, err)
	// The same process id, another start: the number came to name somebody else.
	dead := fmt.Sprintf("%s%dx%d-1-dead", namePrefix, os.Getpid(), startTime(os.Getpid())-1)
	_, err = output(ctx, "ip", "netns", "add", dead)
	must(t, err)
	must(t, reap())
	if _, err := os.Stat("/run/netns/" + dead); err == nil {
		t.Error("what a dead process left is still there")
	}
	if _, err := os.Stat("/run/netns/" + mine.Name); err != nil {
		t.Errorf("the living one's is gone: %v", err)
	}
}
