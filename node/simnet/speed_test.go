package simnet

import (
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// A thousand nodes must stay cheap to simulate.
func BenchmarkDatagramsThroughTheInternet(b *testing.B) {
	n := New(1)
	n.SetDefault(Link{})
	server, err := n.Host("seed", "203.0.113.1").Open(9000)
	if err != nil {
		b.Fatal(err)
	}
	client, _ := n.Host("site", "198.51.100.9").Open(0)
	p := dial(client, "203.0.113.1:9000").path
	train := packet.NewTrain()
	for b.Loop() {
		train.Reset(p.Prefix())
		for range 40 {
			train.Next(1400)
		}
		p.Send(train)
		for got := 0; got < 40; {
			arrivals, _ := server.Receive()
			got += len(arrivals)
		}
	}
	b.SetBytes(40 * 1400)
}
