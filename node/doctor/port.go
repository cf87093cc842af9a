package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/rawtcp/guard"
)

// port is one that a node shall listen on.
type port struct {
	network string // tcp or udp
	address netip.AddrPort
	err     error  // of taking it for a moment
	holder  holder // who has it
}

// holder is a process. The zero holder is not known.
type holder struct {
	pid  int
	name string // at most 15 characters, as the kernel keeps it
	same bool   // it runs this very program
}

func (h holder) String() string {
	if h.pid == 0 {
		return "another program"
	}
	return fmt.Sprintf("%s (process %d)", h.name, h.pid)
}

// ours says whether the process is a node.
func (h holder) ours() bool { return h.same || h.name == "lightweight-tunnel"[:15] }

// findPorts takes each port for a moment, TCP and UDP, and says nothing on the
// wire.
func findPorts(listen []netip.AddrPort) (all []port) {
	for _, address := range listen {
		tcp := port{network: "tcp", address: address}
		var held *guard.Reservation
		if held, tcp.err = guard.Reserve(address, false); tcp.err == nil {
			held.Close()
		}
		udp := port{network: "udp", address: address}
		var conn net.PacketConn
		if conn, udp.err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", address.String()); udp.err == nil {
			conn.Close()
		}
		for _, p := range []port{tcp, udp} {
			if errors.Is(p.err, unix.EADDRINUSE) {
				p.holder = findHolder(p.network, address.Port())
			}
			all = append(all, p)
		}
	}
	return all
}

func (p port) judge() Check {
	c := Check{Name: "port", Verdict: OK}
	what := fmt.Sprintf("%s %s", p.network, p.address)
	other := "stop that program, or choose another port with --listen"
	switch {
	case p.err == nil:
		c.Found = what + " is free"
	case errors.Is(p.err, unix.EADDRINUSE) && p.holder.ours():
		c.Found = fmt.Sprintf("%s is held by the node that runs here, %s", what, p.holder)
	case errors.Is(p.err, unix.EADDRINUSE) && p.network == "udp":
		c.Verdict, c.Found = Warn, fmt.Sprintf("%s is taken by %s: direct paths will use another port", what, p.holder)
		c.Fix = other + ", or name a port for direct paths with -p2p-port"
	case errors.Is(p.err, unix.EADDRINUSE):
		c.Verdict, c.Found, c.Fix = Fail, fmt.Sprintf("%s is taken by %s", what, p.holder), other
	case errors.Is(p.err, unix.EADDRNOTAVAIL):
		c.Verdict, c.Found = Fail, fmt.Sprintf("%s: %s is no address of this host", what, p.address.Addr())
		c.Fix = fmt.Sprintf("listen on one of its own, or on all: --listen 0.0.0.0:%d", p.address.Port())
	default:
		c.Verdict, c.Found, c.Fix = Fail, fmt.Sprintf("%s: %v", what, p.err), "choose another address or port with --listen"
	}
	return c
}

// findHolder looks through /proc for whoever listens on a port.
func findHolder(network string, number uint16) holder {
	wanted := map[string]bool{}
	for _, file := range []string{network, network + "6"} {
		if table, err := os.ReadFile("/proc/thread-self/net/" + file); err == nil {
			for _, inode := range listeners(string(table), number) {
				wanted[fmt.Sprintf("socket:[%s]", inode)] = true
			}
		}
	}
	if len(wanted) == 0 {
		return holder{}
	}
	open, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return holder{}
	}
	for _, fd := range open {
		target, err := os.Readlink(fd)
		if err != nil || !wanted[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		pid, err := strconv.Atoi(filepath.Base(process))
		name, err2 := os.ReadFile(process + "/comm")
		if err == nil && err2 == nil {
			exe, err := os.Readlink(process + "/exe")
			self, err2 := os.Readlink("/proc/self/exe")
			return holder{pid, strings.TrimSpace(string(name)), err == nil && err2 == nil && exe == self}
		}
	}
	return holder{}
}

// listeners are the inodes of the sockets that have the local port and are not
// connected, in a table as /proc/net/tcp (proc_pid_net(5)).
func listeners(table string, number uint16) (inodes []string) {
	const (
		local, remote, inode = 1, 2, 9
	)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) <= inode {
			continue
		}
		_, text, _ := strings.Cut(f[local], ":")
		n, err := strconv.ParseUint(text, 16, 16)
		if err == nil && uint16(n) == number && strings.HasSuffix(f[remote], ":0000") && f[inode] != "0" {
			inodes = append(inodes, f[inode])
		}
	}
	return inodes
}
