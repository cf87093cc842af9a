package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/node/control"
)

// everyActor lists the paths of all actors below i.
func everyActor(i actors.Info, above string) (paths []string) {
	for _, c := range i.Children {
		paths = append(paths, above+c.Name)
		paths = append(paths, everyActor(c, above+c.Name+"/")...)
	}
	return paths
}

// actor is how `node status` shows the actor that path leads to.
func (s *station) actor(path string) (found control.ActorView) {
	var look func(all []control.ActorView, above string)
	look = func(all []control.ActorView, above string) {
		for _, a := range all {
			if above+a.Name == path {
				found = a
			}
			look(a.Children, above+a.Name+"/")
		}
	}
	look(source{s.node}.Status().Actors, "")
	return found
}

// outage sends packets along all streams for eight seconds and returns when the
// last of those that were lost was sent.
func outage(m *mesh, all []*stream) (last time.Duration) {
	const every = 50 * time.Millisecond
	for range 8 * time.Second / every {
		for _, s := range all {
			s.send()
		}
		m.pass(every)
	}
	m.pass(time.Second)
	got := map[*station][]ipPacket{}
	for _, s := range all {
		got[s.to] = append(got[s.to], s.to.heard()...)
	}
	for _, s := range all {
		for n, times := range s.arrived(got[s.to]) {
			if times == 0 {
				last = max(last, time.Duration(n+1)*every)
			}
		}
	}
	return last
}

func TestAfterAPanicInAnyActorTrafficIsBackInTwoSeconds(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		a, b := sites[0], sites[1]
		for _, at := range []*station{a, seed} {
			for _, path := range everyActor(at.node.root.Tree(), "") {
				before := at.actor(path)
				if err := (source{at.node}).Fail(path); err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				if took := outage(m, streams(seed, a, b)); took >= 2*time.Second {
					t.Errorf("%s: panic in %s: traffic was back after %v", at.cfg.Name, path, took)
				}
				after := at.actor(path)
				if after.Restarts != before.Restarts+1 || !strings.Contains(after.LastError, "failure asked for") {
					t.Errorf("%s: %s shows %d restarts (before: %d), last error %q", at.cfg.Name, path, after.Restarts, before.Restarts, after.LastError)
				}
				m.pass(10 * time.Second)
			}
		}
		for _, s := range []*station{seed, a, b} {
			m.eventually(time.Minute, "all is well again at "+s.cfg.Name, func() bool {
				status := source{s.node}.Status()
				alive := 0
				for _, p := range (source{s.node}).Peers().Peers {
					if p.State == control.Alive {
						alive++
					}
				}
				return status.Healthy && alive == 2
			})
		}
	})
}

func TestAfterAPanicInAllActorsAtOnceTrafficIsBackInTwoSeconds(t *testing.T) {
	for _, which := range []string{"site-2", "fra-seed"} {
		inMesh(t, func(t *testing.T, m *mesh) {
			seed, sites := m.star(2)
			for _, s := range m.stations {
				if s.cfg.Name != which {
					continue
				}
				for _, path := range everyActor(s.node.root.Tree(), "") {
					_ = source{s.node}.Fail(path) // those below one that fails are ending already
				}
			}
			if took := outage(m, streams(seed, sites[0], sites[1])); took >= 2*time.Second {
				t.Errorf("%s: traffic was back after %v", which, took)
			}
		})
	}
}

func TestAnActorThatIsNotThereCannotFail(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		m.pass(time.Second)
		if err := (source{seed.node}).Fail("nobody"); err == nil {
			t.Error("no error")
		}
		names := everyActor(seed.node.root.Tree(), "")
		for _, want := range []string{"keys", "routes", "rx/0", "transport", "links", "links/peers", "tun/0", "gossip"} {
			if !slices.Contains(names, want) {
				t.Errorf("no actor %s in %v", want, names)
			}
		}
	})
}
