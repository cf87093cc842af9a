package peerlink

import (
	"math/rand/v2"
	"net/netip"
	"sync"
)

// dropNth loses datagram number lost, counted from 0 over the whole network.
func dropNth(count *int, lost int) func(_, _ netip.AddrPort) bool {
	var mu sync.Mutex
	return func(_, _ netip.AddrPort) bool {
		mu.Lock()
		defer mu.Unlock()
		*count++
		return *count == lost
	}
}

// dropShare loses a share of all datagrams at random, from a seed.
func dropShare(seed uint64, share float64) func(_, _ netip.AddrPort) bool {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 2))
	return func(_, _ netip.AddrPort) bool {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64() < share
	}
}
