// Package gossip spreads what every node says of itself through the whole mesh
// and finds out who is alive. It runs hashicorp/memberlist inside the tunnel,
// bound to the overlay address, so that it inherits encryption, NAT traversal
// and relaying, and so that its liveness is what users feel.
//
//	Publish -> sign -> Ledger -> broadcast (newer replaces older) -> other nodes
//	other nodes -> delegate (copies, offers) -> Ledger (verifies) -> routes, peers, keys
//	lost? answers to probes sum up what is known; who differs exchanges all of it
//
// memberlist itself says only which members answer. Everything that is believed
// of a node stands in its signed advert, and even where a member may be reached
// is signed by the member ([memberName], memberMeta): a node speaks for itself
// alone.
//
// The pure cores are [Ledger] (who said what), joiner (through whom to join),
// accord (with whom to exchange everything) and
// outbox (who has to be told). [Gossip] is the one actor around them.
package gossip
