// Package udp carries datagrams over UDP: the second transport beside rawtcp,
// with the same datagrams and nothing in front of them.
//
// One port serves both address families, and everything that belongs to this
// node goes through it: data, STUN and the opening of NATs, because a NAT gives
// each local port a mapping of its own. More ports can be opened for a while
// ([Transport.Sockets]), which a search for the mapping of a random NAT needs.
//
// A [Path] is what others call a connection: one of our sockets, one address of
// ours, one address of somebody else. It needs no answer to exist. Paths come
// from [Transport.Through] and [Transport.Dial], or show up in what is received;
// those that nobody adopts are bounded in number and in age, and a flood from
// forged addresses replaces the oldest of them instead of using memory.
//
// # Speed
//
// A [packet.Train] is laid out as UDP_SEGMENT wants it, so up to 64 datagrams
// leave with one system call, and UDP_GRO brings them in the same way; they are
// cut where they lie. Both are tried at run time. What refuses segmentation (an
// interface without checksum offload on old kernels, IPsec) is remembered for the
// path until its route changes, and gets sendmmsg(2) instead.
//
// # Never into the tunnel
//
// Every datagram is told the interface by which it leaves (IP_PKTINFO), as
// package link found it, which never names one of
// [Config.ExcludeInterfaces] nor follows a route of the tunnel's own. What came
// in through such an interface is dropped. The source address is told too: an
// answer leaves from the address that the question came to, and a path keeps its
// addresses as long as it lives. When the host loses the address, the path says so
// ([Path.OnChange]) and soon ends.
//
// Over IPv4 the interface binds. Over IPv6 it does so only when the kernel chooses
// the source address, which it is left to do where it would choose the same; for
// another address of the host the kernel is asked after every change of routes
// whether it obeys, and nothing is sent where it would not.
//
// # Path MTU
//
// All packets carry DF and the kernel's own idea of the path MTU is not used
// (IP_PMTUDISC_PROBE): who sends searches it. [Path.MaxDatagram] is what the
// first link takes.
//
// # Who runs what
//
//   - [Path.Send] runs in the goroutine of whoever sends: atomics, one system call.
//   - [Transport.Receive] and [Transport.Poll] run in the one pump that calls them;
//     the pump alone holds the table it looks paths up in.
//   - [Transport.Run] follows routes and addresses, and forgets idle strangers.
package udp
