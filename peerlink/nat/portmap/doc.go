// Package portmap asks the home router to open a port, by PCP (RFC 6887),
// NAT-PMP (RFC 6886) or UPnP-IGD (WANIPConnection:1 and :2, WANPPPConnection:1),
// whichever it speaks, in this order. [Mapper] is the actor; what it reached is
// in its [Published].
//
// The router that is asked is the next hop of the IPv4 default route. Each
// mapping lasts for [Config].Lifetime and is asked for again at half of it, which
// opens it again if the router lost it. A router that restarts is asked again at
// once if it says so, as PCP and NAT-PMP demand; one that speaks UPnP alone is
// noticed at the renewal. Another default route, another router: everything is
// made anew there. At the end what was opened is closed.
//
// What it costs. With a mapping, every 10 minutes and per port: 2 packets (PCP),
// 4 (NAT-PMP), about 20 (UPnP, two short TCP connections), there and back
// counted. Without any answer an attempt is at most 12 packets, and is repeated
// after 15 s, 1, 4 and 16 minutes and then once an hour, until the default route
// changes; every 4 minutes if that router opened a port before. A host whose own
// address is public asks nobody.
//
// Everything that the actor does happens on its own goroutine and is bounded in
// time, and every socket is bound to the address and the interface of the default
// route. Nothing is believed of anybody but the router itself: answers and
// announcements from elsewhere are ignored, and UPnP descriptions are read from
// the router's own address only.
package portmap
