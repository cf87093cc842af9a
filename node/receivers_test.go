package node

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// silent is a transport to which nothing comes.
type silent struct {
	packet.Poller
	fd int
}

func (silent) Poll() (packet.Arrivals, error) { return nil, nil }
func (s silent) Descriptor() (int, error)     { return s.fd, nil }

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func TestWhoWakesAClosedReceiverWritesToNoOther(t *testing.T) {
	r, err := newReceivers(silent{fd: eventfd(t)}, silent{fd: eventfd(t)})
	if err != nil {
		t.Fatal(err)
	}
	r.Wake()
	if got, err := r.Receive(); len(got) != 0 || err != nil {
		t.Fatalf("woken: %v, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	others := []int{eventfd(t), eventfd(t), eventfd(t)} // on the numbers that have become free
	r.Wake()
	for _, fd := range others {
		var count [8]byte
		if _, err := unix.Read(fd, count[:]); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("the descriptor of somebody else has rung: %v", err)
		}
	}
	if _, err := r.Receive(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
