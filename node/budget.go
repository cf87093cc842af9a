package node

import (
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/pump"
)

// budget is how the ceiling for buffers and queues is divided among those who have
// some. The zero value is no ceiling: each has what it has by default.
type budget struct {
	// Of the kernel, in bytes: the ring in which fake TCP arrives, and the buffers of
	// each socket.
	ring, receive, send int
	// pool is what there is of each of three kinds, for all peers together: packets
	// that wait for a key or a path, copies of packets that may have to go again, and
	// packets that wait to be put in order or for parity.
	pool int64
	// runtime is what Go's runtime may take, but for what each peer takes beside its
	// packets. It is the last resort: before it is exceeded, rubbish is collected more
	// often.
	runtime int64
}

const (
	// bursts is what is on its way through the pumps: 2 MiB that one call may receive
	// over UDP, an arena for super-packets, and six buffers of 64 KiB for each TUN queue.
	bursts = 3 << 20
	// busySockets is how many sockets have something in their buffers at a time: fake TCP's
	// and those of UDP in both families. The kernel doubles what it is told.
	busySockets  = 3
	kernelFactor = 2

	// runtimeSelf is what the program takes without any peer or traffic, and what is
	// rubbish already and not collected yet.
	runtimeSelf = 16 << 20
	// runtimePeer is what a link takes beside packets: a train, mailboxes, keys.
	runtimePeer = 160 << 10
)

// divide divides a ceiling in bytes; 0: there is none.
func divide(ceiling int64) budget {
	if ceiling == 0 {
		return budget{}
	}
	rest := ceiling - bursts
	b := budget{
		ring:    int(min(max(rest/5, 1<<20), 3<<20)),
		receive: int(min(max(rest/32, 128<<10), 4<<20)),
		send:    int(min(max(rest/128, 128<<10), 1<<20)),
	}
	b.pool = (rest - int64(b.ring) - int64(busySockets*kernelFactor*(b.receive+b.send))) / 3
	b.runtime = 3*b.pool + bursts + runtimeSelf
	return b
}

// pools are the three parts that all peers share; nil: without end.
type pools struct {
	staged *packet.Budget
	pumps  pump.Memory
}

func (b *budget) pools() pools {
	return pools{
		staged: packet.NewBudget(b.pool),
		pumps:  pump.Memory{Copies: packet.NewBudget(b.pool), Waiting: packet.NewBudget(b.pool)},
	}
}

// runtimeFor is what Go's runtime may take with so many peers and a few more: it stops
// for a moment whenever it is told.
func (b *budget) runtimeFor(peers int) int64 {
	const step = 16
	return b.runtime + int64((peers/step+1)*step)*runtimePeer
}

// limitRuntime tells Go's runtime what it may take, if that has changed. Any
// goroutine may call it.
func (n *Node) limitRuntime() {
	if n.cfg.Memory == 0 || n.LimitRuntime == nil {
		return
	}
	limit := n.budget.runtimeFor(len(n.peers.Peers()))
	if n.limited.Swap(limit) != limit {
		n.LimitRuntime(limit)
	}
}
