package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// The contenders' names, as the report shows them.
const (
	veth      = "bare veth"
	wireguard = "wireguard-go"
	ours      = "lightweight-tunnel" // over fake TCP
	oursUDP   = "the same over UDP"
)

// contender is one way from the left to the right host of a pair of its own.
type contender struct {
	name      string
	pair      *lab.Pair
	target    string         // the right host's address on this way
	processes []*lab.Process // what carries the traffic, left and right
	nodes     []*lab.Node    // the same, if it is ours
	rekey     time.Duration  // our nodes agree on new keys so often; 0: as usual
}

// sides are the names of our nodes.
var sides = [2]string{"left", "right"}

// start builds a pair for a contender and waits until it carries a ping.
func (p plan) start(ctx context.Context, l *lab.Lab, name string, setting lab.Offload) (*contender, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	pair, err := l.NewPair(ctx, strings.ReplaceAll(name, " ", "-")+"-", setting)
	if err != nil {
		return nil, err
	}
	c := &contender{name: name, pair: pair, target: lab.PairRight4, rekey: p.rekey}
	switch name {
	case wireguard:
		err = c.startWireguard(ctx, l)
	case ours:
		err = c.startNodes(l, p.node, "rawtcp", lab.PairRight4)
	case oursUDP:
		err = c.startNodes(l, p.node, "udp", lab.PairRight4)
	}
	if err != nil {
		return nil, err
	}
	if err := pair.Left.Reaches(ctx, c.target); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.logs())
	}
	return c, nil
}

// startNodes starts our seed on the right, which has the address seed, and a site on
// the left.
func (c *contender) startNodes(l *lab.Lab, binary, transport, seed string) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	keyFile := filepath.Join(l.Dir(), "key-"+transport)
	if err := os.WriteFile(keyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		return err
	}
	c.target = "10.77.0.1"
	common := []string{"--key-file", keyFile, "--interface", "lt0", "--transport", transport}
	if c.rekey > 0 {
		common = append(common, "--rekey-after", c.rekey.String())
	}
	common = slices.Clip(common)
	right, err := c.pair.Right.StartNode(lab.NodeConfig{Binary: binary, Args: append(common, "--name", sides[1], "--listen", fmt.Sprintf("0.0.0.0:%d", seedPort), "--address", c.target+"/24")})
	if err != nil {
		return err
	}
	left, err := c.pair.Left.StartNode(lab.NodeConfig{Binary: binary, Args: append(common, "--name", sides[0], "--seed", fmt.Sprintf("%s:%d", seed, seedPort), "--address", "10.77.0.2/24")})
	if err != nil {
		return err
	}
	c.nodes = []*lab.Node{left, right}
	c.processes = []*lab.Process{left.Process, right.Process}
	return nil
}

// drops is what our two nodes have dropped so far, by reason.
func (c *contender) drops(ctx context.Context) (map[string]uint64, error) {
	sum := map[string]uint64{}
	for i, node := range c.nodes {
		status, err := node.Status(ctx)
		if err != nil {
			return nil, fmt.Errorf("what the %s node has dropped: %w", sides[i], err)
		}
		for reason, n := range status.Drops {
			sum[sides[i]+": "+reason] += n
		}
	}
	return sum, nil
}

// cpu is the processor time that the contender's processes have used so far.
func (c *contender) cpu() (total time.Duration, err error) {
	for _, p := range c.processes {
		used, err := p.CPU()
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// peakRSS is the larger of its processes' peaks, in MB; 0 if it has none.
func (c *contender) peakRSS() (float64, error) {
	most := int64(0)
	for _, p := range c.processes {
		peak, err := p.PeakRSS()
		if err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", c.name, err, c.logs())
		}
		most = max(most, peak)
	}
	return float64(most) / 1e6, nil
}

func (c *contender) logs() string {
	var all strings.Builder
	for _, p := range c.processes {
		fmt.Fprintf(&all, "--- %s, process %d said:\n%s\n", c.name, p.PID, p.Log())
	}
	return all.String()
}

// startProfile records where our nodes spend their time until the returned
// function is called.
func (p plan) startProfile(c *contender, setting lab.Offload, kase string) (stop func()) {
	if p.profile == "" || c.name != ours && c.name != oursUDP {
		return func() {}
	}
	var recorders []*exec.Cmd
	for i, side := range []string{"left", "right"} {
		path := filepath.Join(p.profile, fmt.Sprintf("%d-%s-%s-%s.perf", int(setting), kase, strings.ReplaceAll(c.name, " ", "-"), side))
		cmd := exec.Command("perf", "record", "-q", "-g", "-F", "499", "-o", path, "-p", fmt.Sprint(c.processes[i].PID))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no profile:", err)
			continue
		}
		recorders = append(recorders, cmd)
	}
	return func() {
		for _, cmd := range recorders {
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait() // perf ends with the signal that it was sent
		}
	}
}
