package simnet

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// startMember starts a memberlist at the address and joins it through another.
func startMember(t *testing.T, o *Overlay, addr, through string) *memberlist.Memberlist {
	t.Helper()
	cfg := memberlist.DefaultWANConfig()
	// A name that is the bare address makes memberlist read its own table
	// without the lock (rawSendMsgPacket looks the receiver up by address).
	cfg.Name, cfg.LogOutput, cfg.Transport = "node "+addr, io.Discard, o.Join(addr, 7946)
	m, err := memberlist.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if through != "" {
		if _, err := m.Join([]string{through + ":7946"}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func names(m *memberlist.Memberlist) (names []string) {
	for _, node := range m.Members() {
		names = append(names, strings.TrimPrefix(node.Name, "node "))
	}
	slices.Sort(names)
	return names
}

// eventually waits until every member sees those names. Whom memberlist gossips
// with is random, so only a bound can be promised, and it is wide.
func eventually(t *testing.T, what string, members []*memberlist.Memberlist, want []string) {
	t.Helper()
	deadline := time.Now().Add(time.Hour)
	for _, m := range members {
		for !slices.Equal(names(m), want) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s sees %v, want %v", what, m.LocalNode().Name, names(m), want)
			}
			pass(time.Second)
		}
	}
}

func mesh(t *testing.T, o *Overlay, count int) (addrs []string, members []*memberlist.Memberlist) {
	for i := range count {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d", i+1))
		through := ""
		if i > 0 {
			through = addrs[0]
		}
		members = append(members, startMember(t, o, addrs[i], through))
	}
	slices.Sort(addrs)
	return addrs, members
}

func shutdown(t *testing.T, members []*memberlist.Memberlist) {
	for _, m := range members {
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	}
	pass(time.Minute) // a probe that was under way still waits for its answer
}

func TestMembersMeetAndTheDeadAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverlay(1)
		o.SetLine(Link{Delay: 20 * time.Millisecond, Loss: 0.05})
		addrs, members := mesh(t, o, 6)
		defer func() { shutdown(t, members) }()
		eventually(t, "at first", members, addrs)
		o.Crash(addrs[5])
		eventually(t, "after the crash", members[:5], addrs[:5])
		members = append(members, startMember(t, o, addrs[5], addrs[1]))
		eventually(t, "after the return", members[:5], addrs)
	})
}

func TestAPartitionSplitsTheMeshAndHealingJoinsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverlay(1)
		addrs, members := mesh(t, o, 4)
		defer func() { shutdown(t, members) }()
		eventually(t, "at first", members, addrs)
		o.Partition(addrs[:2], addrs[2:])
		eventually(t, "one half", members[:2], addrs[:2])
		eventually(t, "the other half", members[2:], addrs[2:])
		o.Heal()
		if _, err := members[0].Join([]string{addrs[3] + ":7946"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "after healing", members, addrs)
	})
}

func TestNothingWaitsForANodeThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverlay(1)
		a := o.Join("10.0.0.1", 7946)
		_ = o.Join("10.0.0.2", 7946)
		o.Crash("10.0.0.2")
		begun := time.Now()
		for range 10_000 {
			if _, err := a.WriteTo([]byte("x"), "10.0.0.2:7946"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Fatalf("writing took %v", took)
		}
		if _, err := a.DialTimeout("10.0.0.2:7946", 3*time.Second); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Fatalf("%v after %v", err, time.Since(begun))
		}
		// A node that lives but reads nothing stops nobody either.
		b := o.Join("10.0.0.2", 7946)
		for range 10_000 {
			a.WriteTo([]byte("x"), "10.0.0.2:7946")
		}
		pass(time.Second)
		if got := len(b.PacketCh()); got != gossipPackets {
			t.Fatalf("%d packets wait", got)
		}
		o.Reach(func(from, to netip.Addr) bool { return false })
		if _, err := a.DialTimeout("10.0.0.2:7946", time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestAStreamDelaysEndsAndStallsWithItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverlay(1)
		a, b := o.Join("10.0.0.1", 7946), o.Join("10.0.0.2", 7946)
		begun := time.Now()
		near, err := a.DialTimeout("10.0.0.2:7946", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		far := <-b.StreamCh()
		if far.RemoteAddr().String() != "10.0.0.1:7946" {
			t.Fatalf("from %v", far.RemoteAddr())
		}
		if _, err := near.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		if n, err := far.Read(buf); err != nil || string(buf[:n]) != "hello" || time.Since(begun) != 30*time.Millisecond {
			t.Fatalf("%q, %v after %v", buf[:n], err, time.Since(begun))
		}
		near.Close()
		if _, err := far.Read(buf); err != io.EOF {
			t.Fatal(err)
		}
		far.Close()

		near, _ = a.DialTimeout("10.0.0.2:7946", time.Second)
		far = <-b.StreamCh()
		o.Partition([]string{"10.0.0.1"}, []string{"10.0.0.2"})
		near.Write([]byte("lost"))
		near.Close()
		far.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := far.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		far.Close()
		pass(time.Second)
	})
}
