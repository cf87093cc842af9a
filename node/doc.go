// Package node puts a node together: it is the only place that knows everybody.
//
//	             cmd/lightweight-tunnel
//	                      |
//	                    node            node.go, tree.go: the whole picture
//	   .--------.---------+---------.----------.
//	node/pump  node/tun  node/control  node/config  node/logs
//	   |
//	gossip      routes      peerlink -- peerlink/keys
//	   |           |           |-- peerlink/noise /path /replay /wire   pure cores:
//	   |           |           |            /fec /repair /pmtu          no clock, no socket
//	   |           |           '-- rawtcp -- rawtcp/link, rawtcp/guard
//	   v           v           v
//	 actors/message    actors/packet
//	              actors
//
// A packet never meets an actor's mailbox: it runs to completion on a pump
// (package node/pump), which reads immutable snapshots. Everything else is said
// by messages (package actors/message) through bounded mailboxes.
//
// There are two seams, [Overlay] and [Underlay]. Behind them stand a TUN device
// and fake TCP on a real machine, or an internet in memory and in virtual time
// (package node/simnet) in tests of whole meshes.
package node
