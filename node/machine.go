package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/pump"
	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink/keys"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
	"github.com/openbmx/lightweight-tunnel/routes"
	"github.com/openbmx/lightweight-tunnel/routes/sysctl"
)

// Run runs a node on this machine, in the network namespace of the calling
// thread, until ctx ends: TUN device, fake TCP, kernel routes, control socket.
// ready is called once it serves. What it made it takes away again.
func Run(ctx context.Context, cfg config.Config, log hclog.Logger, ready func(*Node)) (err error) {
	meshKey, err := keys.ParseMeshKey(cfg.Key.Reveal())
	if err != nil {
		return err
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = firstMTU
	}
	var undo closers
	defer func() { err = errors.Join(err, undo.close()) }()

	keys.AwaitDying(cfg.StatePath(cfg.Interface), killedWithin)
	device, err := tun.Open(tun.Config{
		Name: cfg.Interface, Asked: cfg.InterfaceAsked, Addresses: cfg.Addresses, MTU: mtu,
		SuperSize: superSize(mtu), Log: log.Named("tun"),
	})
	if err != nil {
		return err
	}
	undo.add(device.Close)

	warnOfOtherInterface(log, cfg, device.Name())
	state, err := keys.OpenStateDir(cfg.StatePath(device.Name()))
	if err != nil {
		return err
	}
	undo.add(state.Close)
	tuned := openTuning(sysctl.Host{}, state.Path("tuned.json"), log.Named("kernel"))
	if cfg.KernelTune { // before the transport, whose programs it is about
		tuned.apply(settings)
	}
	undo.add(tuned.close)
	identity, made, err := keys.LoadIdentity(state, time.Now())
	if err != nil {
		return err
	}
	book, err := keys.OpenRosterBook(state)
	if err != nil {
		return err
	}
	socket, err := control.Listen(control.SocketPath(cfg.StateDir, device.Name()))
	if err != nil {
		return err
	}
	undo.add(socket.Close)
	kernel, err := routes.NewKernel(routes.KernelConfig{Device: device.Name, Tune: cfg.KernelTune, Log: log.Named("routes")})
	if err != nil {
		return err
	}
	undo.add(func() error { kernel.Close(); return nil })
	forwarding, err := routes.NewForwarding(routes.ForwardingConfig{
		StateDir: state.Path("."), Tune: cfg.KernelTune, Log: log.Named("routes"),
	})
	if err != nil {
		return err
	}
	var n *Node // receiving begins when it runs
	carriers, err := openTransports(cfg, device.Name(), func(message []byte, path packet.Path) bool {
		return n.prober.TakeSTUN(message, path)
	}, log)
	if err != nil {
		return err
	}
	undo.add(carriers.close)

	parts := Parts{
		Identity: identity, MeshKey: meshKey, Book: book,
		Overlay: machineOverlay{device}, Underlay: carriers, UDP: carriers.datagrams(), Cross: carriers.cross(),
		Hosts: hostAddresses(device.Name()), Changes: hostChanges(device.Name()),
		Host: kernel, Forwarding: forwarding, Socket: socket, Ready: ready,
		LimitRuntime: func(bytes int64) { debug.SetMemoryLimit(bytes) },
	}
	if port := parts.udpPort(); cfg.PortMap && cfg.P2P && port != 0 {
		private, _ := identity.Static()
		secret := sha256.Sum256(append([]byte("lightweight-tunnel port mapping"), private[:]...))
		parts.PortMap = newPortMapping(port, device.Name(), secret[:], func() { n.prober.Look() }, log.Named("portmap"))
	}
	if n, err = New(cfg, parts, log); err != nil {
		return err
	}
	if made {
		log.Info("made an identity for this node", "id", identity.ID())
	}
	log.Info("node runs", "name", cfg.Name, "id", identity.ID().Brief(), "interface", device.Name(),
		"addresses", cfg.Addresses, "listen", cfg.Listen, "seeds", cfg.Seeds, "guard", carriers.Describe().Guard)
	return n.Run(ctx)
}

// killedWithin is what the kernel is given to clear up after a node that was
// killed just before this one starts. It takes some tens of milliseconds.
const killedWithin = 3 * time.Second

// warnOfOtherInterface says that a node may not be who it was: where its state
// lies depends on the interface, and that on who else runs here.
func warnOfOtherInterface(log hclog.Logger, cfg config.Config, device string) {
	if cfg.InterfaceAsked || cfg.StateDir != "" || device == cfg.Interface {
		return
	}
	log.Warn("the usual interface is taken: this node uses another one, and the identity kept for that one; "+
		"to be the same node at every start, name an interface with --interface, or a directory with --state-dir",
		"taken", cfg.Interface, "interface", device, "state", cfg.StatePath(device))
}

// dialTimeout is short, because between the last SYN of one try and the first of
// the next a seed that has come back must not wait for long.
const dialTimeout = 4 * time.Second

// superSize bounds the kernel's super-packets so that one of them, cut and
// sealed, still fits one train: the rest would cost a system call of its own.
func superSize(mtu int) int {
	const (
		record   = 5   // what rawtcp puts in front of each datagram
		ipAndTCP = 40  // of the inner packet, without options
		kernel   = 512 // what Linux takes off for headers (MAX_TCP_HEADER) and a margin
	)
	segments := packet.MaxTrain / (mtu + wire.Overhead + record)
	return min(segments*(mtu-ipAndTCP)+kernel, 65535)
}

// closers undoes what was done, last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() (err error) {
	for i := len(*c) - 1; i >= 0; i-- {
		err = errors.Join(err, (*c)[i]())
	}
	return err
}

// machineOverlay is the TUN device as the node sees it.
type machineOverlay struct{ *tun.Device }

func (o machineOverlay) Queues() (qs []Queue) {
	for _, q := range o.Device.Queues() {
		qs = append(qs, machineQueue{q})
	}
	return qs
}

func (o machineOverlay) USO() bool { return o.Offloads().USO }

func (o machineOverlay) Drops() map[string]uint64 {
	m := map[string]uint64{}
	for _, q := range o.Device.Queues() {
		d := q.Drops()
		m["tun_full"] += d.Full
		m["tun_refused"] += d.Bad
		m["tun_down"] += d.Down
	}
	return m
}

type machineQueue struct{ *tun.Queue }

func (q machineQueue) Sink() pump.Sink { return q.NewWriter() }
