// Package tun opens the overlay's network interface and moves packets through
// it: super-packets of up to 64 KB, whose checksums are not filled in, each
// behind a virtio_net_hdr (see [Header]) that says how to cut and finish it.
//
// The interface lives exactly as long as its [Device]: it is never made
// persistent, so that a killed process leaves nothing behind.
package tun
