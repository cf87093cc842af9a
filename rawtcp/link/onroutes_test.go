package link

import (
	"sync"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestHandlesAreRightWhenAChangeOfRoutesIsTold(t *testing.T) {
	ns, _ := nstest.Pair(t)
	r := newResolver(t, ns, nil)
	var running sync.WaitGroup
	t.Cleanup(func() {
		running.Wait()
		_ = r.Close()
	})
	hop, err := r.Lookup(b4)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 256)
	r.OnRoutes(func() { ready <- hop.Ready() })
	ended := make(chan error, 1)
	running.Go(func() { ended <- r.Run(t.Context()) })
	deadline := time.After(patience)
	becomes := func(want bool) {
		for {
			select {
			case is := <-ready:
				if is == want {
					return
				}
			case err := <-ended:
				t.Fatal(err)
			case <-deadline:
				t.Fatalf("nobody is told of a hop that is ready: %t", want)
			}
		}
	}
	becomes(true) // when Run begins
	ns.Run("ip link set v0 down")
	becomes(false)
}
