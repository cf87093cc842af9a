// Package rawtcp carries datagrams inside TCP connections that this process
// speaks by itself, so that middleboxes which pass nothing but TCP pass us too,
// without TCP's retransmission under the tunnel's own.
//
// To everybody on the way a [Flow] is a TCP connection of this host's kernel:
// handshake, options, clocks, acknowledgements and teardown follow the host's
// sysctls. Inside it each datagram is one TLS-shaped record:
//
//	| 17 | 03 | 03 | length (2) | datagram |
//
// Three things differ from TCP, on purpose: nothing is ever sent twice, the
// acknowledgement runs past holes (middleboxes forget a connection whose
// acknowledgements stand still), and what does not fit the peer's window is
// dropped instead of queued.
//
// Two hosts behind NATs open a connection to each other from both sides at once
// ([Transport.Hold], Cross): SYNs that cross, one SYN-ACK, an ACK from each.
//
// The package is built inside out. Pure, without clock, goroutine or socket:
// the codecs (segment, options, record), the secrets (cookie, isn), the numbers
// of an established connection (stream), the state machine around them
// (machine, in flow.go; simultaneous) and the half-open connections (backlog). Around them:
//
//   - [Flow.Send] runs in the goroutine of whoever sends; it touches atomics only.
//   - [Transport.Receive] runs in the one pump that calls it; it handles data and
//     acknowledgements itself and offers everything else to
//   - [Transport.Run], the actor that owns the machines, all timers, the half-open
//     connections and the table of flows, which the others read as a snapshot.
package rawtcp
