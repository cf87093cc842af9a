package rawtcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/guard"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// kernelWire is the wire of a real host: packets beside the kernel's stack by
// package link, the kernel's TCP kept away by package guard.
type kernelWire struct {
	resolver *link.Resolver
	sender   *link.Sender
	tap      *link.Tap
	guard    *guard.Guard
	exclude  []string

	locals atomic.Pointer[map[netip.Addr]struct{}]

	// Of the pump:
	ignore map[int]bool // interfaces seen, and whether they are excluded
	kept   []link.Packet
}

func newKernelWire(cfg Config) (_ *kernelWire, err error) {
	w := &kernelWire{exclude: cfg.ExcludeInterfaces, ignore: make(map[int]bool)}
	defer func() {
		if err != nil {
			_ = w.close()
		}
	}()
	if w.resolver, err = link.NewResolver(cfg.Log.Named("link")); err != nil {
		return nil, fmt.Errorf("watching routes: %w", err)
	}
	for _, name := range cfg.ExcludeInterfaces {
		w.resolver.Refuse(name)
	}
	if w.sender, err = link.NewSender(w.resolver, link.Options{Log: cfg.Log.Named("link"), SendBuffer: cfg.SendBuffer}); err != nil {
		return nil, fmt.Errorf("opening packet sockets: %w", err)
	}
	tap := link.TapOptions{Log: cfg.Log.Named("link"), ReceiveBuffer: cfg.ReceiveBuffer, Ring: cfg.ReceiveRing}
	if w.tap, err = link.NewTap(tap); err != nil {
		return nil, fmt.Errorf("opening the packet tap: %w", err)
	}
	w.guard, err = guard.New(guard.Options{
		Log: cfg.Log.Named("guard"), XDP: !cfg.DisableBPF, Owner: cfg.Owner, Exclude: cfg.ExcludeInterfaces,
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the kernel's TCP away: %w", err)
	}
	w.refresh()
	return w, nil
}

func (w *kernelWire) lookup(src, dst netip.Addr) (hop, error) {
	var h *link.NextHop
	var err error
	if src.IsValid() {
		h, err = w.resolver.LookupFrom(src, dst)
	} else {
		h, err = w.resolver.Lookup(dst)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up the route to %v: %w", dst, err)
	}
	return h, nil
}

func (w *kernelWire) send(h hop, t *packet.Train, ipLen, tcpLen int) error {
	return w.sender.Send(h.(*link.NextHop), t, ipLen, tcpLen)
}

func (w *kernelWire) sendPacket(h hop, pkt []byte) error {
	return w.sender.SendPacket(h.(*link.NextHop), pkt)
}

func (w *kernelWire) answer(to link.Origin, pkt []byte) error {
	return w.sender.Answer(to, pkt)
}

func (w *kernelWire) wake() { w.tap.Wake() }

func (w *kernelWire) receive() ([]link.Packet, error) { return w.wanted(w.tap.Recv()) }

func (w *kernelWire) poll() ([]link.Packet, error) { return w.wanted(w.tap.Poll()) }

func (w *kernelWire) descriptor() (int, error) { return w.tap.Descriptor() }

// wanted leaves out what came through excluded interfaces, also those that
// appeared after the tap's filter was made.
func (w *kernelWire) wanted(packets []link.Packet, err error) ([]link.Packet, error) {
	if err != nil || len(w.exclude) == 0 {
		return packets, err
	}
	w.kept = w.kept[:0]
	for _, p := range packets {
		if !w.ignored(p.From.IfIndex) {
			w.kept = append(w.kept, p)
		}
	}
	return w.kept, nil
}

func (w *kernelWire) ignored(index int) bool {
	ignored, seen := w.ignore[index]
	if !seen {
		i, err := net.InterfaceByIndex(index)
		if err != nil {
			return false // gone already
		}
		ignored = slices.Contains(w.exclude, i.Name)
		w.ignore[index] = ignored
	}
	return ignored
}

func (w *kernelWire) setPorts(ports []uint16) error {
	if err := w.guard.Set(ports); err != nil {
		return fmt.Errorf("keeping the kernel's TCP away from ports %v: %w", ports, err)
	}
	var indexes []int
	for _, name := range w.exclude {
		if i, err := net.InterfaceByName(name); err == nil {
			indexes = append(indexes, i.Index)
		}
	}
	if err := w.tap.SetFilter(ports, indexes); err != nil {
		return fmt.Errorf("receiving ports %v: %w", ports, err)
	}
	return nil
}

func (w *kernelWire) reserve(addr netip.AddrPort, listen bool) (reservation, error) {
	r, err := guard.Reserve(addr, listen)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (w *kernelWire) isLocal(addr netip.Addr) bool {
	_, ok := (*w.locals.Load())[addr]
	return ok
}

func (w *kernelWire) refresh() {
	locals := make(map[netip.Addr]struct{})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		if w.locals.Load() == nil {
			w.locals.Store(&locals)
		}
		return
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			locals[p.Addr().Unmap().WithZone("")] = struct{}{}
		}
	}
	w.locals.Store(&locals)
}

// run follows routes for the sender and interfaces for the guard, and keeps the
// queues of the interfaces short.
func (w *kernelWire) run(ctx context.Context) error {
	return actors.Together(ctx, w.resolver.Run, w.guard.Run, w.sender.Govern)
}

func (w *kernelWire) describe() (guardName, receive string, reasons []string) {
	return w.guard.Name(), w.tap.Mode(), w.guard.Reasons()
}

func (w *kernelWire) close() (err error) {
	if w.tap != nil {
		err = errors.Join(err, w.tap.Close())
	}
	if w.sender != nil {
		err = errors.Join(err, w.sender.Close())
	}
	if w.resolver != nil {
		err = errors.Join(err, w.resolver.Close())
	}
	if w.guard != nil {
		err = errors.Join(err, w.guard.Close())
	}
	return err
}
