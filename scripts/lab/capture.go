package lab

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Capture is a tcpdump that runs in a namespace.
type Capture struct {
	*Process
	Path string // the pcap file; goes away with the lab
}

// Capture records the packets of one device that match a pcap filter. It
// returns once recording has begun.
func (n *Namespace) Capture(ctx context.Context, device, filter string) (*Capture, error) {
	path := n.lab.file(n.Role + "-" + device + ".pcap")
	p, err := n.Start(Command{
		Path: "tcpdump",
		// -Z root: do not become another user, who could not write here.
		Args: append([]string{"-i", device, "-s", "262144", "-U", "--immediate-mode", "-B", "16384", "-Z", "root", "-w", path}, strings.Fields(filter)...),
	})
	if err != nil {
		return nil, err
	}
	return &Capture{Process: p, Path: path}, p.Says(ctx, "listening on")
}

// Finish ends the recording; the file is then complete.
func (c *Capture) Finish(ctx context.Context) error {
	if err := c.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return c.Wait(ctx)
}

// Fields lets tshark read the file: one row per packet that matches the display
// filter, with the values of the given fields.
func (c *Capture) Fields(ctx context.Context, displayFilter string, fields ...string) ([][]string, error) {
	args := []string{"-r", c.Path, "-n", "-Y", displayFilter, "-T", "fields", "-E", "separator=\t"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	out, err := output(ctx, "sh", append([]string{"-c", `exec tshark "$@" 2>/dev/null`, "tshark"}, args...)...)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// Listener waits until something listens on a TCP port in the namespace.
func (n *Namespace) Listener(ctx context.Context, port int) error {
	return Until(ctx, fmt.Sprintf("%s listens on port %d", n.Role, port), func() error {
		out, err := n.Run(ctx, "ss", "-Hnlt", fmt.Sprintf("sport = :%d", port))
		if err == nil && strings.TrimSpace(out) == "" {
			return fmt.Errorf("nobody listens at %s", time.Now().Format(time.TimeOnly))
		}
		return err
	})
}
