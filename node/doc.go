// Package node puts a node together: it is the only place that knows everybody.
//
//	             cmd/lightweight-tunnel
//	                      |
//	                    node            node.go, tree.go: the whole picture
//	   .--------.---------+---------.----------.----------.
//	node/pump  node/tun  node/control  node/config  node/logs  node/doctor
//	   |
//	gossip      routes      peerlink -- peerlink/keys, peerlink/nat (portmap)
//	   |           |           |-- peerlink/noise /aesgcm /replay /wire   pure cores:
//	   |           |           |            /path /punch /fec /repair     no clock,
//	   |           |           |            /pmtu                         no socket
//	   |           |           |-- peerlink/udp  ] two transports,
//	   |           |           '-- rawtcp        ] received by one pump
//	   |           |                 '-- rawtcp/link, rawtcp/guard
//	   v           v           v
//	 actors/message    actors/packet
//	              actors
//
// A packet never meets an actor's mailbox: it runs to completion on a pump
// (package node/pump), which reads immutable snapshots. Everything else is said
// by messages (package actors/message) through bounded mailboxes.
//
// There are two seams, [Overlay] and [Underlay] (with [Datagrams] and
// packet.Crosser for direct paths). Behind them stand a TUN device, fake TCP and
// UDP on a real machine, or an internet in memory and in virtual time (package
// node/simnet) in tests of whole meshes.
package node
