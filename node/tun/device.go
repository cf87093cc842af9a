package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is an open TUN interface, up and addressed. Its queues belong to the
// pumps; everything else is for one goroutine. The interface vanishes with the
// last descriptor, also when the process is killed.
type Device struct {
	name      string
	link      netlink.Link
	rtnl      *netlink.Handle // stays in the network namespace in which the device was opened
	queues    []*Queue
	offloads  Offloads
	mtu       int
	addresses []netip.Prefix
	up        bool
	log       hclog.Logger
}

// Config is what Open needs.
type Config struct {
	Name      string         // of the interface; empty: "tun0"
	Asked     bool           // the user chose Name: if it is taken that is an error; else the next free number is used
	Addresses []netip.Prefix // the node's own, with the prefix length of the overlay's subnet
	MTU       int            // bytes of the largest IP packet
	Queues    int            // 0 means 1
	TxQueue   int            // packets that wait for the reader; 0: 500
	SuperSize int            // bytes of the largest super-packet that the kernel should make; 0: its own choice
	Log       hclog.Logger   // nil: silent
}

// defaultTxQueue is the kernel's own choice for TUN. Each place may hold a
// super-packet of 64 KB, so a longer queue would be seconds of delay.
const defaultTxQueue = 500

const defaultName = "tun0"

// Open makes the interface, gives it its addresses and sets it up. It needs
// CAP_NET_ADMIN. Close the device to remove the interface.
func Open(cfg Config) (*Device, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("tun device: %w", err)
	}
	d := &Device{log: cfg.Log}
	if err := d.open(cfg); err != nil {
		d.Close()
		return nil, err
	}
	d.log.Info("interface is up", "interface", d.name, "mtu", d.mtu, "addresses", d.addresses,
		"queues", len(d.queues), "offloads", d.offloads.String())
	return d, nil
}

func (c *Config) complete() error {
	if c.Name == "" {
		c.Name = defaultName
	}
	if len(c.Name) >= unix.IFNAMSIZ || strings.ContainsAny(c.Name, "/% \t\n:") || c.Name == "." || c.Name == ".." {
		return fmt.Errorf("interface name %q: want 1 to %d letters, digits or - _", c.Name, unix.IFNAMSIZ-1)
	}
	if c.MTU < 576 || c.MTU > 65535 {
		return fmt.Errorf("MTU %d: want 576 to 65535", c.MTU)
	}
	for _, a := range c.Addresses {
		if !a.IsValid() {
			return errors.New("an address is not valid")
		}
		if a.Addr().Is6() && c.MTU < 1280 {
			return fmt.Errorf("MTU %d is too small for %s: IPv6 needs 1280", c.MTU, a)
		}
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.Queues < 0 || c.Queues > 256 {
		return fmt.Errorf("%d queues: want 1 to 256", c.Queues)
	}
	if c.TxQueue == 0 {
		c.TxQueue = defaultTxQueue
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return nil
}

func (d *Device) open(cfg Config) error {
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if cfg.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	fd, err := d.create(cfg, flags)
	if err != nil {
		return err
	}
	for {
		if d.offloads, err = prepare(fd); err == nil {
			var q *Queue
			if q, err = newQueue(fd, d.name); err == nil {
				d.queues = append(d.queues, q)
			}
		} else {
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("queue %d of %s: %w", len(d.queues), d.name, err)
		}
		if len(d.queues) == cfg.Queues {
			return d.configure(cfg)
		}
		if fd, _, err = attach(d.name, flags); err != nil {
			return fmt.Errorf("add queue %d to %s: %w", len(d.queues), d.name, err)
		}
	}
}

// create makes an interface that was not there before. IFF_TUN_EXCL keeps us from taking
// over a persistent interface that is somebody else's.
func (d *Device) create(cfg Config, flags uint16) (fd int, err error) {
	fd, d.name, err = attach(cfg.Name, flags|unix.IFF_TUN_EXCL)
	if errors.Is(err, unix.EBUSY) && !cfg.Asked {
		pattern := strings.TrimRight(cfg.Name, "0123456789") + "%d" // the kernel fills in the lowest free number
		fd, d.name, err = attach(pattern, flags|unix.IFF_TUN_EXCL)
	}
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.EBUSY):
		return -1, fmt.Errorf("interface %s exists already: stop the program that owns it, remove it with `ip link del %s`, or choose another name with --interface", cfg.Name, cfg.Name)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("create interface %s: %w: run as root or with CAP_NET_ADMIN", cfg.Name, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("open /dev/net/tun: %w: load the module with `modprobe tun`, or give the container this device", err)
	}
	return -1, fmt.Errorf("create interface %s: %w", cfg.Name, err)
}

// attach opens one more descriptor and binds it to the interface.
func attach(name string, flags uint16) (fd int, got string, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, ifr.Name(), nil
}

// prepare sets what each descriptor must agree on with its pump.
func prepare(fd int) (Offloads, error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, HeaderLen); err != nil {
		return Offloads{}, fmt.Errorf("set virtio_net_hdr length: %w", err)
	}
	return setOffloads(func(bits int) error { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, bits) })
}

// Name and Index are those of the interface.
func (d *Device) Name() string { return d.name }
func (d *Device) Index() int   { return d.link.Attrs().Index }

// Queues are the packet queues, as many as were asked for. The kernel keeps
// one flow on one queue: the one on which it was last written.
func (d *Device) Queues() []*Queue { return d.queues }

// Offloads is what this kernel grants.
func (d *Device) Offloads() Offloads { return d.offloads }

// MTU is the current one in bytes.
func (d *Device) MTU() int { return d.mtu }

// Close ends every read and write with [ErrClosed] and removes the interface,
// with its addresses and all routes through it. A second Close does nothing.
func (d *Device) Close() error {
	var err error
	for _, q := range d.queues {
		err = errors.Join(err, q.Close())
	}
	d.queues = nil
	if d.rtnl != nil {
		d.rtnl.Close()
		d.rtnl = nil
	}
	return err
}
