package link

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestALookupThatMeetsCloseFindsAWayOrNone(t *testing.T) {
	ns, _ := nstest.Pair(t)
	r := newResolver(t, ns, nil)
	known, err := r.Lookup(b4)
	if err != nil || !known.Ready() {
		t.Fatalf("before Close: %v", err)
	}
	var asking sync.WaitGroup
	begun := make(chan struct{}, 4)
	for g := range byte(cap(begun)) {
		asking.Go(func() {
			for i := range byte(20) {
				if _, err := r.Lookup(netip.AddrFrom4([4]byte{203, 0, 113, g<<5 | i})); err != nil {
					t.Error(err)
				}
				if i == 2 {
					begun <- struct{}{}
				}
			}
		})
	}
	<-begun
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	asking.Wait()
	if late, err := r.Lookup(netip.MustParseAddr("10.77.0.9")); err != nil || late.Ready() {
		t.Errorf("after Close: %v, ready %v", err, late.Ready())
	}
	if !known.Ready() {
		t.Error("a handle has forgotten what it knew")
	}
	if err := r.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}
