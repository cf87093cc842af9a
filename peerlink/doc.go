// Package peerlink holds the encrypted links between this node and others: the
// directory of peers, one link actor per peer (handshake, rekey, keepalive,
// choice of path), one actor per configured seed, and what the data path needs
// of them as immutable snapshots.
//
// The data path calls, without locks, channels or allocations: [Directory.Peer],
// [Peer.Outbound], [Outbound.Begin] and [Outbound.Seal] on the way out;
// [Directory.Unmask], [Directory.Session], [Inbound.Open] and [Inbound.Touch] on
// the way in. Everything else reaches the actors by messages.
//
// Install before announce: the opening keys of a session are in the directory
// before the handshake message goes out that lets the peer seal with them; the
// side that initiated seals with new keys only after it has seen the peer use them.
package peerlink
