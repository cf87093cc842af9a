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
// What a full queue dropped is neither: the TCP inside must hear of it. Losses are
// judged by how long the queue was when they happened, in relation to the longest
// seen, and repeats have a budget.
//
// Everything here is pure: times are nanoseconds of one clock given as arguments, and
// each value belongs to one goroutine.
package repair
