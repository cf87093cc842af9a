package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// chaos does to a mesh, one after the other and in an order that its seed
// decides, all that can happen to one.
type chaos struct {
	*mesh
	*rand.Rand
	all   []*station
	heal  []func() // undoes what is broken now
	story []string
}

func (c *chaos) note(format string, args ...any) {
	c.story = append(c.story, fmt.Sprintf("%v ", time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

func (c *chaos) station() *station { return c.all[c.IntN(len(c.all))] }

// strike lets one thing happen.
func (c *chaos) strike() {
	s, other := c.station(), c.station()
	running := s.cancel != nil
	switch n := c.IntN(10); {
	case n == 0 && running:
		c.note("%s crashes", s.cfg.Name)
		s.crash()
	case n == 1 && running:
		c.note("%s stops", s.cfg.Name)
		s.stop()
	case n <= 3 && !running:
		c.note("%s starts", s.cfg.Name)
		s.restart()
	case n == 4 && running:
		paths := everyActor(s.node.root.Tree(), "")
		if len(paths) > 0 {
			path := paths[c.IntN(len(paths))]
			c.note("%s: panic in %s", s.cfg.Name, path)
			_ = source{s.node}.Fail(path) // it may be starting or ending
		}
	case n == 5 && s != other:
		a, b := s.host, other.host
		c.note("nothing passes from %s to %s", s.cfg.Name, other.cfg.Name)
		c.net.BlackholeOneWay(a, b, true)
		c.heal = append(c.heal, func() { c.net.BlackholeOneWay(a, b, false) })
	case n == 6 && len(c.heal) > 0:
		c.note("what was broken is mended")
		c.mend()
	case n == 7 && s.router != nil:
		c.note("the router of %s forgets", s.cfg.Name)
		s.router.Reboot()
	case n == 8:
		c.note("lines lose much")
		c.net.SetDefault(simnet.Link{Delay: 30 * time.Millisecond, Loss: 0.25, Reorder: 0.1, Duplicate: 0.05, Jitter: 20 * time.Millisecond})
		c.heal = append(c.heal, func() { c.net.SetDefault(simnet.Link{Delay: 10 * time.Millisecond}) })
	case n == 9 && running && other.cancel != nil:
		for i := range 50 {
			s.say(s.address(), other.address(), fmt.Sprint("chatter ", i))
		}
	}
}

func (c *chaos) mend() {
	for _, f := range c.heal {
		f()
	}
	c.heal = nil
}

func TestAfterAnythingThatHappensTheMeshFindsTogether(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("story ", seed), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				const second = "203.0.113.2:9000"
				both := func(s *station) { s.cfg.Seeds = []string{seedAddress, second} }
				c := &chaos{mesh: m, Rand: rand.New(rand.NewPCG(seed, 99))}
				c.all = append(m.sites(4, both), m.seed("fra-seed", seedAddress, "10.0.0.1/24"),
					m.seed("ams-seed", second, "10.0.0.100/24", func(s *station) { s.cfg.Seeds = []string{seedAddress} }))
				defer func() {
					if t.Failed() {
						for _, line := range c.story {
							t.Log(line)
						}
					}
				}()
				m.pass(5 * time.Second)
				for range 40 {
					c.strike()
					m.pass(time.Duration(c.Int64N(int64(8 * time.Second))))
				}
				c.note("the end of all trouble")
				c.mend()
				for _, s := range c.all {
					if s.cancel == nil {
						s.restart()
					}
				}
				m.reachAll(15*time.Second, c.all...)
				m.eventually(2*time.Minute, "every node is well and sees all others", func() bool {
					return !slices.ContainsFunc(c.all, func(s *station) bool {
						v := source{s.node}.Status()
						return !v.Healthy || v.Mesh.Alive < len(c.all)-1
					})
				})
			})
		})
	}
}
