// Package nat finds out how this node looks from outside: under which endpoints
// the very socket that carries its data is seen, how the NAT before it maps and
// filters (RFC 4787, RFC 5780), in what steps it gives out ports, and how long it
// keeps them.
//
// Pure: [Classify] makes a [Behaviour] of what was observed, [HostCandidates] picks
// the addresses worth publishing, [Message] is what is said. The [Prober] is the
// actor around them: it asks, publishes a [Report], and answers the questions of
// others.
//
// Nodes of a mesh ask each other. Their STUN messages (RFC 8489) travel sealed
// under the mesh key as datagrams of kind wire.STUN, over whatever path, so that
// a port stays silent to strangers. Public servers are asked in the clear.
//
// # What it costs
//
// One survey when the node starts and when its network changes: at most
// [SurveyRequests] requests, 9 to 22 if all is well (a closed filter is silent).
// Then one request and its answer each [RefreshInterval], which is 6 packets an
// hour; keepalives of links hold the mappings. While nothing answers at all, a
// survey each [RefreshInterval]: about 60 requests an hour. Where UDP does not pass, fake TCP connections
// from one port to up to four nodes show the mapping, once per network.
//
// How long the NAT keeps a mapping on which nothing is said ([Lifetime]) is measured
// once per network, by mostly waiting: about 40 requests, at most [LifetimeRequests],
// within an hour; if nobody can help, up to 16 a day. It needs another node of the
// mesh that the internet can reach.
package nat
