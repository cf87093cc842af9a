// Package punch looks for a direct path between two nodes that reach each other
// through a relay, through whatever NATs stand before them. It is pure: [Opener]
// is told what happens ([Opener.Step]) and says what is to be done; it has no
// clock, socket or goroutine.
//
// One try goes like this. Whoever has a reason calls the other through the relay
// with an [Offer]: its candidates and the behaviour of its NAT. The other answers
// with its own, waits for as long as the answer travels, and both begin at once:
//
//	caller                relay                 called
//	  |-- Call: offer ------>|-------------------->|
//	  |<---------------------|<-- CallAnswer: offer|
//	  |-- probes ----------------------X           |   low TTL: opens the own NAT only
//	  |           X------------------------ probes-|
//	  |-- Probe ---------------------------------->|
//	  |<------------------------- Probed, Probe ---|   a round trip: the path is proven
//
// The order, of which [plan] makes the targets: addresses of the local network
// that both are in, IPv6 and public addresses, ports that a router forwards, the
// mapping that others see (the answer goes to the source that is observed), then
// the ports that a NAT which steps will give out next, and at last, if one NAT
// gives out random ports and the other maps alike for all, the birthday search:
// many sockets on the one side, probes to many ports on the other. Two NATs that
// nobody can predict are not tried at all. Fake TCP is opened at the same time, by
// simultaneous open from a port that is held for it.
//
// The first try begins once the own NAT is known, or that has taken too long; a call
// of the peer that comes before is answered then.
//
// Of several proven paths the side with the smaller ID chooses, and moves to it;
// the other follows what it hears. A try is bounded in time and packets; between
// tries lies a pause that doubles from seconds to ten minutes and ends at once
// when the network of either side changes.
package punch
