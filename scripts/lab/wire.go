package lab

import (
	"context"
	"fmt"
	"strings"
)

// Offload says what the cables of a lab do with super-packets.
type Offload int

const (
	// AsVeth leaves a veth as it is: packets of up to 64 KB travel whole.
	AsVeth Offload = iota
	// ReceiverGRO cuts packets to the MTU when they are sent and lets the
	// receiver merge them again: nearest to two physical NICs.
	ReceiverGRO
	// NoOffload cuts packets to the MTU and leaves them so.
	NoOffload
)

// String names the setting as reports do.
func (o Offload) String() string {
	return [...]string{"offloads as veth has them", "TSO off, GRO on at the receiver", "TSO and GRO off"}[o]
}

// End is one end of a cable.
type End struct {
	In        *Namespace
	Device    string
	Addresses []string // with prefix lengths, IPv4 or IPv6
	Bridge    string   // the bridge in this namespace that it plugs into, if any
}

// Connect lays a cable (a veth pair) between two ends and brings it up.
func Connect(ctx context.Context, a, b End, offload Offload) error {
	if _, err := output(ctx, "ip", "link", "add", a.Device, "netns", a.In.Name, "type", "veth",
		"peer", "name", b.Device, "netns", b.In.Name); err != nil {
		return fmt.Errorf("connect %s to %s: %w", a.In.Role, b.In.Role, err)
	}
	for _, end := range []End{a, b} {
		var script strings.Builder
		for _, address := range end.Addresses {
			flag := ""
			if strings.Contains(address, ":") {
				flag = " nodad"
			}
			fmt.Fprintf(&script, "ip addr add %s dev %s%s\n", address, end.Device, flag)
		}
		if end.Bridge != "" {
			fmt.Fprintf(&script, "ip link set %s master %s\n", end.Device, end.Bridge)
		}
		switch offload {
		case AsVeth:
		case ReceiverGRO:
			fmt.Fprintf(&script, "ethtool -K %s tso off tx-udp-segmentation off gro on\n", end.Device)
		case NoOffload:
			fmt.Fprintf(&script, "ethtool -K %s tso off tx-udp-segmentation off gro off\n", end.Device)
		}
		fmt.Fprintf(&script, "ip link set %s up\n", end.Device)
		if _, err := end.In.Shell(ctx, script.String()); err != nil {
			return err
		}
	}
	return nil
}
