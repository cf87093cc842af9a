package pump

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
)

// repairing gives an end the repair of loss, as a node has it.
func (e *end) repairing(t *testing.T, mode RepairMode, data, parity, window int) {
	r := NewRepair(mode, data, parity, window)
	e.out.Repair, e.in.Repair = r, r
	leave := r.join(&e.out.mend.box)
	<-time.After(time.Second) // pumps do not begin and lose in the same moment
	synctest.Wait()
	e.receive() // a search for the path's MTU may have gone on: what comes next is what the test sends
	t.Cleanup(func() {
		leave()
		e.out.mend.alarm.stop()
		e.in.mend.alarm.stop()
	})
}

// receiveBut lets the inbound pump handle what has arrived, without some of it,
// and returns how many datagrams there were that carry something.
func (e *end) receiveBut(lost ...int) (n int) {
	const empty = 60 // bytes: that is a probe
	batch, _, _ := e.line.take()
	var kept packet.Arrivals
	for _, a := range batch {
		if len(a.Data) <= empty || !slices.Contains(lost, n) {
			kept = append(kept, a)
		}
		if len(a.Data) > empty {
			n++
		}
	}
	e.in.burst(kept)
	return n
}

// segments are n full packets of one TCP stream, each read on its own.
func segments(from, to *end, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = frame(tun.Header{}, simnet.TCP(netip.AddrPortFrom(from.addr, 4000), netip.AddrPortFrom(to.addr, 5000),
			uint32(i*1300), 1, simnet.ACK, make([]byte, 1300)))
	}
	return all
}

func TestWhatIsLostOfAStreamIsRepeatedAndArrivesInItsPlace(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		a.repairing(t, RepairAuto, 0, 0, 0)
		hub.repairing(t, RepairAuto, 0, 0, 0)
		frames := segments(a, hub, 40)
		a.send(frames...)
		hub.receiveBut(4, 9, 10)
		if n := len(hub.sink.packets(t)); n != 4 {
			t.Fatalf("%d packets did not wait for the one that is missing, want the 4 before it", n)
		}
		for range 10 {
			<-time.After(20 * time.Millisecond)
			a.receive() // the report
			a.send()
			hub.receive()
		}
		whole(t, hub.sink.packets(t), frames[4:]...)
	})
}

func TestParityGivesBackWhatIsLostWithoutAsking(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		a.repairing(t, RepairFixed, 10, 3, 0)
		hub.repairing(t, RepairOff, 0, 0, 0)
		frames := loads(a, hub)["small UDP"][:10]
		a.send(frames...)
		if n := hub.receiveBut(0, 5, 9); n != 13 {
			t.Errorf("10 packets were sent as %d datagrams", n)
		}
		if got := hub.sink.packets(t); len(got) != len(frames) {
			t.Errorf("%d of %d packets are there", len(got), len(frames))
		}
	})
}

func TestTheReceiveQueueBoundsWhatWaitsToBePutInOrder(t *testing.T) {
	const window, sent = 16, 60
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		a.repairing(t, RepairAuto, 0, 0, 0)
		hub.repairing(t, RepairAuto, 0, 0, window)
		a.send(segments(a, hub, 1)...)
		hub.receive() // so that the flow is known
		frames := segments(a, hub, sent)
		a.send(frames...)
		hub.receiveBut(0)
		peer := hub.d.Peer(a.id)
		if n := hub.in.mend.receivers[peer].Waiting(); n > window {
			t.Errorf("%d packets wait, at most %d may", n, window)
		}
		if n := len(hub.sink.packets(t)); n < sent-1-window {
			t.Errorf("only %d packets went on", n)
		}
		hub.in.mend.receivers[peer].Limit(sent)
	})
}

func TestTheWholeWalkAllocatesNothingWhileLossIsRepaired(t *testing.T) {
	for name, mode := range map[string]RepairMode{"by repeats": RepairAuto, "by parity": RepairFixed} {
		withTrio(t, func(t *testing.T, tr trio) {
			a, hub := tr.a, tr.hub
			a.repairing(t, mode, 10, 3, 0)
			hub.repairing(t, mode, 10, 3, 0)
			a.sink.counting, hub.sink.counting = true, true
			traffic := loads(a, hub)
			walk := func(frames [][]byte) {
				a.send(frames...)
				hub.receive()
				a.receive()
			}
			for range 1000 { // the copies that are kept find their place, whichever load comes first
				walk(traffic["a ping"])
			}
			for load, frames := range traffic {
				for range 300 {
					walk(frames)
				}
				before := hub.sink.bytes
				if n := testing.AllocsPerRun(20, func() { walk(frames) }); n != 0 {
					t.Errorf("%s, %s: %v allocations per batch", name, load, n)
				}
				if hub.sink.bytes == before {
					t.Errorf("%s, %s: nothing arrived", name, load)
				}
			}
			if s := a.out.mend.senders[a.d.Peer(hub.id)]; s == nil || !s.Active(0) {
				t.Errorf("%s: nothing was marked", name)
			}
		})
	}
}

func TestWhatGoesAgainAfterAnAbsenceArrivesOnceUnderANumberOfItsOwn(t *testing.T) {
	for name, mode := range map[string]RepairMode{"marked for repeats": RepairAuto, "under parity": RepairFixed, "as it is": RepairOff} {
		for _, how := range []struct{ swallowed, staged bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
			withTrio(t, func(t *testing.T, tr trio) {
				a, hub := tr.a, tr.hub
				a.repairing(t, mode, 10, 3, 0)
				hub.repairing(t, mode, 10, 3, 0)
				type nonce struct { // of one key
					session uint32
					counter uint64
				}
				numbers := map[nonce][]byte{}
				arrive := func(lost bool) (n int) {
					batch, _, _ := hub.line.take()
					for _, datagram := range batch {
						sent := bytes.Clone(datagram.Data)
						h, err := hub.d.Unmask(datagram.Data)
						if err != nil {
							t.Fatal(err)
						}
						number := nonce{h.Index, h.Counter}
						if before, used := numbers[number]; used && !bytes.Equal(before, sent) {
							t.Errorf("%s: two plaintexts were sealed under %+v", name, number)
						}
						numbers[number] = sent
						copy(datagram.Data, sent)
					}
					if !lost {
						hub.in.burst(batch)
					}
					return len(hub.sink.packets(t))
				}
				syn := frame(tun.Header{}, simnet.TCP(netip.AddrPortFrom(a.addr, 4000), netip.AddrPortFrom(hub.addr, 5000), 1, 0, simnet.SYN, nil))
				all := append(segments(a, hub, 3), udp(a, hub, "single"), syn)
				a.send(all...)
				if n := arrive(how.swallowed); how.swallowed != (n == 0) {
					t.Fatalf("%s: %d packets arrived at first", name, n)
				}
				want := 0
				if how.swallowed {
					want = len(all)
				}
				for range 2 {
					peer := a.d.Peer(hub.id)
					if how.staged {
						a.out.stageAgain(peer, a.out.recall(peer), time.Time{})
						synctest.Wait() // its link sends
					} else {
						a.out.recall(peer).since(time.Time{}, a.out.sendAgain)
						a.out.flush()
					}
					if n := arrive(false); n != want {
						t.Errorf("%s, %+v: %d packets arrived when they went again, want %d", name, how, n, want)
					}
					want = 0
				}
			})
		}
	}
}
