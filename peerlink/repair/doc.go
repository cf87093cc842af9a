// Package repair makes a link that loses datagrams look like one that does not,
// and costs nothing on a link that loses none.
//
// Every transmission has a number of its own, the session's counter, so the
// receiver sees gaps for free. Only when there are some, [Receiver] says so in
// reports, and [Sender] begins to put a [Shim] in front of each packet and to keep a
// copy for a while. Then there are two ways to mend a loss:
//
//   - what can wait (bulk TCP) is repeated when a report misses it, as a new
//     transmission with a new number, so that a lost repeat shows as a gap again. The
//     receiver puts such a flow back in order and plays it out with a constant
//     delay, because the TCP inside takes changes of the round trip for congestion.
//   - what cannot wait (small packets, UDP) is insured by parity, see package fec,
//     and repeated only if that was not enough.
//
// Where the round trip is so long that repeats come too late, all rests on parity. Runs of
// losses are spread over groups that are filled in turn there; how many, and how
// much parity, follows from how long the runs are.
//
// What a full queue dropped is neither: the TCP inside must hear of it. Losses are
// judged by how long the queue was when they happened, in relation to the longest
// seen, and repeats have a budget. On a line that loses by itself they are the queue's
// only if the queue is next to its longest or more is lost than chance explains.
//
// A loss in the first round trips would cost a TCP the rest of its life, so small
// probes go ahead of the packet that opens a connection: what became of them is known
// before its first data. A flow that starts gets parity in small groups, and when it has
// filled the line it is delayed by a little, once, so that its TCP ends slow start before
// the queue overflows (HyStart looks for delay, which repairs blur).
// What is lost while a flow makes the queue long, on a line of which nothing is known, is
// mended on trial: see doubt. Repeats of one run reach a flow that starts together, for
// many late acknowledgements would end its start. And when a whole window overflowed a
// queue the flow hears of it at once, because so much cannot be repeated in time.
//
// The constants were found with whole transfers in virtual time over a model of
// cubic (see the tests) and confirmed with the kernel's (scripts/bench/loss).
//
// Everything here is pure: times are nanoseconds of one clock given as arguments, and
// each value belongs to one goroutine.
package repair
