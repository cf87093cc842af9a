package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/rawtcp"
)

// attempt is what came of trying out what a node does to a host.
type attempt struct {
	tun   device
	guard guarded
}

// tryOut opens a TUN device and the fake TCP transport in a sandbox.
func tryOut(ctx context.Context, log hclog.Logger) attempt {
	result := make(chan attempt, 1)
	go func() { // a program that holds the lock of iptables can hold us up
		var a attempt
		a.tun.features, a.tun.open = tunFeatures()
		err := sandbox(func() error {
			a.tun.tried, a.guard.tried = true, true
			if a.tun.open == nil {
				a.tun.err = a.tun.try(log)
			}
			a.guard.err = a.guard.try(log)
			return nil
		})
		if err != nil {
			a.tun.err, a.guard.err = err, err
		}
		result <- a
	}()
	select {
	case a := <-result:
		return a
	case <-ctx.Done():
		late := fmt.Errorf("trying it out took too long: %w", ctx.Err())
		return attempt{tun: device{err: late}, guard: guarded{err: late}}
	}
}

// device is what is known of TUN.
type device struct {
	open     error  // of /dev/net/tun
	features uint32 // TUNGETFEATURES
	tried    bool
	err      error // of making an interface, or why that was not tried
	offloads tun.Offloads
}

// tunFeatures asks what TUN can do, which makes no interface.
func tunFeatures() (uint32, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	features, err := unix.IoctlGetUint32(fd, unix.TUNGETFEATURES)
	return features, err
}

func (d *device) try(log hclog.Logger) error {
	t, err := tun.Open(tun.Config{MTU: 1400, Log: log})
	if err != nil {
		return err
	}
	d.offloads = t.Offloads()
	return t.Close()
}

func (d device) judge() Check {
	c := Check{Name: "tun", Verdict: OK}
	switch {
	case errors.Is(d.open, unix.ENOENT), errors.Is(d.open, unix.ENODEV), errors.Is(d.open, unix.ENXIO):
		c.Verdict, c.Found = Fail, fmt.Sprintf("/dev/net/tun: %v", d.open)
		c.Fix = "load the module with `modprobe tun`; a container needs this device (--device /dev/net/tun)"
	case d.open != nil:
		c.Verdict, c.Found = Fail, fmt.Sprintf("/dev/net/tun: %v", d.open)
		c.Fix = "run as root; a container needs this device (--device /dev/net/tun)"
	case d.tried && d.err != nil:
		c.Verdict, c.Found, c.Fix = Fail, d.err.Error(), "run as root or with CAP_NET_ADMIN"
	case !d.tried && d.features&unix.IFF_VNET_HDR == 0 && d.features != 0:
		c.Verdict, c.Found = Fail, "the kernel's TUN lacks IFF_VNET_HDR"
		c.Fix = "use a kernel whose TUN has it, as all since Linux 2.6.27 have"
	case d.err != nil:
		c.Verdict, c.Found = Warn, fmt.Sprintf("/dev/net/tun opens; its offloads were not tried out: %v", d.err)
		c.Fix = "run `lightweight-tunnel doctor` as root"
	case !d.offloads.TSO:
		c.Verdict, c.Found = Warn, "works, without TCP segmentation offload: each packet costs a system call"
		c.Fix = "use a kernel whose TUN grants it (TUN_F_TSO4)"
	default:
		c.Found = "works; offloads: " + d.offloads.String()
	}
	return c
}

// guarded is how fake TCP would be carried here.
type guarded struct {
	tried  bool
	err    error
	status rawtcp.Status
}

func (g *guarded) try(log hclog.Logger) error {
	t, err := rawtcp.New(rawtcp.Config{Log: log, Owner: "doctor"})
	if err != nil {
		return err
	}
	g.status = t.Status()
	return t.Close()
}

func (g guarded) judge() Check {
	c := Check{Name: "fake tcp", Verdict: OK}
	switch {
	case g.tried && g.err != nil:
		c.Verdict, c.Found = Fail, g.err.Error()
		c.Fix = "run as root; the kernel needs packet sockets and one of eBPF on tc, nftables and iptables; or use --transport udp"
	case g.err != nil:
		c.Verdict, c.Found = Warn, fmt.Sprintf("not tried out: %v", g.err)
		c.Fix = "run `lightweight-tunnel doctor` as root"
	default:
		c.Found = fmt.Sprintf("packets are received by %s; the kernel's TCP is kept away by %s", g.status.Receive, g.status.Guard)
		if g.status.Guard == "iptables" {
			c.Verdict = Warn
			c.Fix = "the slowest way is in use; better ones need a kernel with eBPF on tc (cls_bpf, sch_ingress) or nftables (nf_tables)"
		}
	}
	return c
}
