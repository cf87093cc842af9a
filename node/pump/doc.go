// Package pump is the data path: the two kinds of actor through which every
// packet runs to completion. An [Outbound] pump reads what the kernel routed
// into the TUN device, looks up whom it is for, cuts it to the path, seals it
// and sends it. An [Inbound] pump receives datagrams, opens them, checks where
// they claim to come from, joins them again and writes them to the device; what
// is for another node it forwards.
//
// Between reading and sending there is no channel, no lock, no allocation and no
// other goroutine. What a pump needs to know (routes, sessions, paths) it reads
// from immutable snapshots that actors publish; what actors need to know they
// get by offers that never wait.
package pump
