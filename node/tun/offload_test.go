package tun

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestOffloadsFallBackToWhatTheKernelKnows(t *testing.T) {
	for _, c := range []struct {
		kernel string
		known  int
		want   string
	}{
		{"6.2", unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6, "checksum tso uso"},
		{"5.4", unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_UFO, "checksum tso"},
		{"without segmentation", unix.TUN_F_CSUM, "checksum"},
		{"without any", 0, "none"},
	} {
		got, err := setOffloads(func(bits int) error {
			if bits&^c.known != 0 {
				return unix.EINVAL
			}
			return nil
		})
		if err != nil || got.String() != c.want {
			t.Errorf("kernel %s: got %q, %v; want %q", c.kernel, got, err, c.want)
		}
	}
}

func TestOffloadsReportADescriptorThatTakesNone(t *testing.T) {
	if _, err := setOffloads(func(int) error { return unix.EBADFD }); err == nil {
		t.Fatal("no error")
	}
}
