package lab

import (
	"testing"
	"time"
)

func TestTransfersArriveIntactAcrossNAT(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	star, err := l.NewStar(ctx, StarConfig{Sites: 1})
	must(t, err)
	for _, server := range []string{ServerIPv4, ServerIPv6} {
		done, err := Transfer(ctx, star.Sites[0].Namespace, star.Server, server, 1<<20)
		must(t, err)
		if done.Bytes != 1<<20 || done.Mbps() <= 0 {
			t.Errorf("TCP to %s: %+v", server, done)
		}
		arrived, err := Datagrams(ctx, star.Sites[0].Namespace, star.Server, server, 100, 900)
		must(t, err)
		if arrived != 100 {
			t.Errorf("UDP to %s: %d of 100 arrived", server, arrived)
		}
	}
}

func TestTransferToNobodyFailsInTime(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 10*time.Second)
	star, err := l.NewStar(ctx, StarConfig{Sites: 1})
	must(t, err)
	// The router drops what is new from outside.
	short := timeout(t, time.Second)
	if _, err := Transfer(short, star.Server, star.Sites[0].Namespace, SiteIPv4, 1); err == nil {
		t.Error("the server has no way to a private address, and yet bytes arrived")
	}
}
