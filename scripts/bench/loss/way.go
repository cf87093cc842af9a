package loss

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// The contenders' names, as the report shows them.
const (
	bare    = "bare line"
	fecOff  = "-fec off"
	fecAuto = "-fec auto"
)

// oneWay is half of the round trip.
const oneWay = 25 * time.Millisecond

// usual is the line of all scenarios, before their own knobs are turned.
const usual = "delay=25ms rate=100mbit queue=50ms"

// way is one contender's way from the left to the right host.
type way struct {
	*lab.Impaired
	contender string
	target    string // the right host's address on this way
	nodes     []*lab.Node
}

// connect builds the hosts, waits until the contender carries a ping, and only
// then makes the line as bad as the scenario wants it: what is measured starts
// cold, but not how nodes find each other.
func (p plan) connect(ctx context.Context, l *lab.Lab, s scenario, contender string, seed uint64) (*way, error) {
	line, err := impair.Profile{}.With(strings.Fields(usual + " " + s.from)...)
	if err != nil {
		return nil, err
	}
	pair, err := l.Impaired(ctx, lab.ImpairedConfig{Line: line, Seed: seed})
	if err != nil {
		return nil, err
	}
	w := &way{Impaired: pair, contender: contender, target: lab.PairRight4}
	if contender != bare {
		if err := w.startNodes(l, p.node, s.flags); err != nil {
			return nil, err
		}
	}
	ready, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := pair.Left.Reaches(ready, w.target); err != nil {
		return nil, fmt.Errorf("%w%s", err, w.logs())
	}
	if err := pair.Line.Turn(impair.Both, strings.Fields(s.line)...); err != nil {
		return nil, err
	}
	pair.Line.Reset()
	return w, nil
}

// startNodes starts a seed on the right and a site on the left.
func (w *way) startNodes(l *lab.Lab, binary string, flags []string) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	keyFile := filepath.Join(l.Dir(), "key")
	if err := os.WriteFile(keyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		return err
	}
	w.target = "10.77.0.1"
	common := append([]string{"--key-file", keyFile, "--interface", "lt0", "--stun", "none"}, flags...)
	if w.contender == fecOff {
		common = append(common, "--fec", "off")
	}
	for _, n := range []struct {
		host *lab.Namespace
		args []string
	}{
		{w.Right, []string{"--name", "right", "--listen", "0.0.0.0:9000", "--address", w.target + "/24"}},
		{w.Left, []string{"--name", "left", "--seed", lab.PairRight4 + ":9000", "--address", "10.77.0.2/24"}},
	} {
		node, err := n.host.StartNode(lab.NodeConfig{Binary: binary, Args: append(n.args, common...)})
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, node)
	}
	return nil
}

// wire is what entered the line in each direction since its Reset, in bytes.
func (w *way) wire() (there, back float64) {
	return float64(w.Line.Stats(impair.There).In.Bytes), float64(w.Line.Stats(impair.Back).In.Bytes)
}

// honest says what the machine did to the packets that the line should have
// done: then the figures are about the machine.
func (w *way) honest() error {
	for _, direction := range impair.Both {
		if host := w.Line.Stats(direction).Host; host.Overrun+host.Refused+host.Unsent > 0 {
			return fmt.Errorf("the machine could not keep up with the line (%s: %+v)", direction, host)
		}
	}
	return nil
}

// logs is the end of what the nodes said, for an error message.
func (w *way) logs() string {
	var all strings.Builder
	for _, node := range w.nodes {
		log := node.Log()
		const most = 1500
		if len(log) > most {
			log = "..." + log[len(log)-most:]
		}
		fmt.Fprintf(&all, "\n--- %s, process %d said:\n%s", w.contender, node.PID, log)
	}
	return all.String()
}

// pause waits while a stream runs.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
