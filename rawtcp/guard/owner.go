package guard

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// owner is a claim to a name, under which rules are installed. It is an abstract
// Unix socket: such names live in the network namespace, as the rules do, and
// end with the process however it ends. So whether the owner of a rule is alive
// is certain, where a process id could be another's by now or in another
// container.
type owner struct {
	name string
	fd   int
}

const ownerSocket = "\x00lightweight-tunnel/guard/"

// maxOwner leaves room for a prefix in the name of an iptables chain.
const maxOwner = 20

func claim(name string) (*owner, error) {
	if name == "" {
		name = fmt.Sprintf("p%d", os.Getpid())
	}
	name = safeName(name)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("claim guard %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: ownerSocket + name}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("claim guard %s: a running node uses that name already", name)
		}
		return nil, fmt.Errorf("claim guard %s: %w", name, err)
	}
	return &owner{name: name, fd: fd}, nil
}

func (o *owner) release() { unix.Close(o.fd) }

// dead says whether nobody claims the name. The caller's own claim counts as
// dead: what stands under it, a former process left behind.
func (o *owner) dead(name string) bool {
	if name == o.name {
		return true
	}
	other, err := claim(name)
	if err != nil {
		return false
	}
	other.release()
	return other.name == name
}

// safeName keeps to what nft, iptables and tc all take in a name.
func safeName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, name)
	if safe != name || len(safe) > maxOwner {
		h := fnv.New32a()
		h.Write([]byte(name))
		safe = fmt.Sprintf("%.*s-%08x", maxOwner-9, safe, h.Sum32())
	}
	return safe
}
