package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPortsAreOpenedRenewedAtHalfOfTheirLifetimeAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.moves = 5
		_, end := r.work(published, udp, tcp)
		r.expect("at first", "find, map udp 51820, map tcp 9000")
		s := published.State()
		want := Mapping{Port: udp, External: netip.MustParseAddrPort("203.0.113.9:51825"), Protocol: PCP,
			Gateway: ours.Address, Expires: time.Now().Add(20 * time.Minute)}
		if len(s.Mappings) != 2 || s.Mappings[0] != want || s.Problem != "" || s.Gateway != ours.Address || r.changes != 1 {
			t.Fatalf("published %+v after %d changes", s, r.changes)
		}
		if got := s.External(Port{UDP, 1}); got.IsValid() {
			t.Fatalf("a port that nobody opened is at %v", got)
		}
		r.moves = 0
		r.pass(10*time.Minute - time.Second)
		r.expect("before half of the lifetime", "")
		r.pass(time.Second)
		r.expect("at half of the lifetime", "map udp 51820, map tcp 9000")
		if r.wishes[2] != want.External {
			t.Fatalf("renewed with the wish for %v, had %v", r.wishes[2], want.External)
		}
		if s := published.State(); !s.Mappings[0].Expires.After(want.Expires) || r.changes != 1 {
			t.Fatalf("published %+v after %d changes", s, r.changes)
		}
		if took := end(); took != 0 {
			t.Errorf("the end took %v", took)
		}
		r.expect("at the end", "unmap udp 51820, unmap tcp 9000")
		if s := published.State(); isOpen(s) || s.Problem != "" || r.changes != 2 {
			t.Fatalf("published %+v after %d changes", s, r.changes)
		}
	})
}

func TestAShortLifetimeGivenByTheRouterCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.lifetime = 2 * time.Minute
		_, end := r.work(published, udp)
		defer end()
		r.expect("at first", "find, map udp 51820")
		r.pass(time.Minute)
		r.expect("at half", "map udp 51820")
	})
}

func TestTheNextProtocolIsAskedWhenOneRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.speaks = []Protocol{NATPMP, UPnP}
		_, end := r.work(published, udp)
		defer end()
		if s := published.State(); s.Mappings[0].Protocol != NATPMP {
			t.Fatalf("published %+v", s)
		}
	})
}

func TestWithoutAnAnswerTheRouterIsAskedEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.speaks = nil
		_, end := r.work(published, udp)
		defer end()
		r.expect("at first", "find")
		if s := published.State(); !strings.Contains(s.Problem, "192.168.1.1 does not answer to pcp, nat-pmp, upnp") || r.changes != 1 {
			t.Fatalf("published %+v after %d changes", s, r.changes)
		}
		for _, pause := range []time.Duration{15 * time.Second, time.Minute, 4 * time.Minute, 16 * time.Minute, time.Hour, time.Hour} {
			r.pass(pause - time.Millisecond)
			r.expect("before the pause ended", "")
			r.pass(time.Millisecond)
			r.expect(fmt.Sprintf("after %v", pause), "find")
		}
		if r.changes != 1 {
			t.Fatalf("%d changes told, nothing changed but once", r.changes)
		}
	})
}

func TestAnotherDefaultRouteMakesEverythingAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		_, end := r.work(published, udp)
		defer end()
		r.took()
		r.heard(event{})
		r.pass(time.Minute)
		r.expect("after a change that is none", "")
		r.gw = theirs
		for range 100 { // an interface that comes up says much
			r.heard(event{})
		}
		r.pass(settle)
		r.expect("behind another router", "find, map udp 51820")
		if s := published.State(); s.Gateway != theirs.Address || s.Mappings[0].Gateway != theirs.Address {
			t.Fatalf("published %+v", s)
		}
		r.gw, r.err = Gateway{}, errNoGateway
		r.heard(event{})
		r.pass(settle)
		if s := published.State(); isOpen(s) || s.Problem != errNoGateway.Error() || s.Gateway.IsValid() {
			t.Fatalf("published without a route: %+v", s)
		}
		r.gw, r.err = ours, nil
		r.heard(event{})
		r.pass(settle)
		if s := published.State(); !isOpen(s) || s.Gateway != ours.Address {
			t.Fatalf("published when the route is back: %+v", s)
		}
	})
}

func TestARouterThatAnnouncesItsStartIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		_, end := r.work(published, udp, tcp)
		defer end()
		r.pass(5 * time.Minute)
		r.took()
		clear(r.open)
		r.started = time.Now()
		r.heard(event{from: theirs.Address})
		r.pass(time.Minute)
		r.expect("when another router announces", "")
		for range 10 { // RFC 6886, 3.2.1
			r.heard(event{from: ours.Address})
		}
		r.pass(settle)
		r.expect("when the router announces", "map udp 51820, map tcp 9000")
		if len(r.open) != 2 {
			t.Fatalf("open: %v", r.open)
		}
		for range 60 { // one that does not stop
			r.heard(event{from: ours.Address})
			r.pass(time.Second)
		}
		if got := strings.Count(r.took(), "map udp"); got > 6 {
			t.Fatalf("asked %d times in a minute of announcements", got)
		}
	})
}

func TestRecheckAsksSoonButNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		m, end := r.work(published, udp)
		defer end()
		r.pass(time.Minute)
		r.took()
		m.Recheck()
		m.Recheck()
		r.pass(settle)
		r.expect("after Recheck", "map udp 51820")
		m.Recheck()
		r.pass(usualRest - time.Millisecond)
		r.expect("at once again", "")
		r.pass(time.Millisecond)
		r.expect("after the rest", "map udp 51820")
	})
}

func TestWhatIsOpenStaysPublishedUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		_, end := r.work(published, udp)
		defer end()
		r.speaks = nil
		r.pass(10 * time.Minute)
		if s := published.State(); !isOpen(s) || !strings.Contains(s.Problem, "does not answer") {
			t.Fatalf("published %+v", s)
		}
		r.pass(10*time.Minute - time.Second)
		if s := published.State(); !isOpen(s) {
			t.Fatalf("published before it expires: %+v", s)
		}
		r.pass(time.Second)
		if s := published.State(); isOpen(s) {
			t.Fatalf("published after it expired: %+v", s)
		}
		if asked := strings.Count(r.took(), "find"); asked > 10 {
			t.Fatalf("asked %d times in 20 minutes", asked)
		}
		r.speaks = []Protocol{UPnP}
		r.pass(pauseOfSpeaker)
		if s := published.State(); !isOpen(s) || s.Mappings[0].Protocol != UPnP || s.Problem != "" {
			t.Fatalf("published when the router is back: %+v", s)
		}
	})
}

func TestAnExternalAddressThatIsNotPublicIsAProblem(t *testing.T) {
	for external, want := range map[string]string{
		"100.64.3.2": "itself behind NAT", "10.0.0.9": "itself behind NAT", "192.168.0.2": "itself behind NAT",
		"0.0.0.0": "no address from outside",
	} {
		synctest.Test(t, func(t *testing.T) {
			r, published := newRouter(t), &Published{}
			r.speaks = []Protocol{PCP, NATPMP, UPnP}
			r.outside = netip.MustParseAddr(external)
			_, end := r.work(published, udp, tcp)
			defer end()
			r.expect("at first", "find, map udp 51820, unmap udp 51820")
			if s := published.State(); isOpen(s) || !strings.Contains(s.Problem, want) || !strings.Contains(s.Problem, "192.168.1.1") {
				t.Fatalf("published %+v", s)
			}
		})
	}
}

func TestAHostWithAPublicAddressAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.gw.Source = netip.MustParseAddr("203.0.113.50")
		_, end := r.work(published, udp)
		defer end()
		r.pass(24 * time.Hour)
		r.expect("in a day", "")
		if s := published.State(); isOpen(s) || s.Problem != "" {
			t.Fatalf("published %+v", s)
		}
	})
}

func TestARefusalIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		r.refuse[tcp] = errors.New("not authorized")
		_, end := r.work(published, udp, tcp)
		defer end()
		s := published.State()
		if len(s.Mappings) != 1 || s.Problem != "pcp: tcp port 9000: not authorized" {
			t.Fatalf("published %+v", s)
		}
		r.refuse[udp] = errors.New("not any more")
		r.pass(10 * time.Minute)
		s = published.State()
		if !strings.Contains(s.Problem, "192.168.1.1 opens no port: pcp: not any more") {
			t.Fatalf("published %+v", s)
		}
	})
}

func TestARouterThatDoesNotAnswerHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		_, end := r.work(published, udp, tcp)
		r.deaf = true
		if took := end(); took > 400*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		_, end = r.work(&Published{}, udp)
		if took := end(); took > 400*time.Millisecond { // in the middle of a question
			t.Errorf("the end took %v", took)
		}
	})
}

func TestARestartedMapperAsksForTheSamePortOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, published := newRouter(t), &Published{}
		was := &State{Gateway: ours.Address, Mappings: []Mapping{{Port: udp, External: netip.MustParseAddrPort("203.0.113.9:40000")}}}
		published.now.Store(was)
		_, end := r.work(published, udp)
		defer end()
		if r.wishes[0] != was.Mappings[0].External || r.changes != 1 {
			t.Fatalf("wished for %v, %d changes", r.wishes, r.changes)
		}
	})
}
