package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// iperf is a TCP stream of iperf3 that goes on until it is told to end.
type iperf struct {
	i              *internet
	server, client *lab.Process
}

// iperfInterval is how often iperf3 counts.
const iperfInterval = 250 * time.Millisecond

// iperf starts a stream of so many Mbit/s, as cubic sends it (BBR would hide loss).
func (i *internet) iperf(from, to *place, mbps int) *iperf {
	i.t.Helper()
	server, err := to.host.Start(lab.Command{Path: "iperf3", Args: []string{"-s", "-1"}})
	must(i.t, err)
	must(i.t, to.host.Listener(i.ctx, 5201))
	client, err := from.host.Start(lab.Command{Path: "iperf3", Args: []string{"-c", to.address(), "-J", "-C", "cubic",
		"-t", "300", "-i", fmt.Sprint(iperfInterval.Seconds()), "-b", fmt.Sprint(mbps, "M")}})
	must(i.t, err)
	return &iperf{i, server, client}
}

// stop ends the stream, which must have lived until now, and returns how many
// segments were sent again in each interval.
func (p *iperf) stop() (retransmits []int) {
	p.i.t.Helper()
	must(p.i.t, p.client.Signal(syscall.SIGINT)) // fails if it has ended
	must(p.i.t, p.client.Wait(p.i.ctx))
	must(p.i.t, p.server.Wait(p.i.ctx))
	var said struct {
		Intervals []struct {
			Sum struct{ Retransmits int }
		}
		Error string
	}
	must(p.i.t, json.NewDecoder(strings.NewReader(p.client.Log())).Decode(&said))
	if len(said.Intervals) == 0 || !strings.Contains(said.Error, "interrupt") {
		p.i.t.Errorf("iperf3 ended with %q after %d intervals", said.Error, len(said.Intervals))
	}
	for _, interval := range said.Intervals {
		retransmits = append(retransmits, interval.Sum.Retransmits)
	}
	return retransmits
}

// bursts is how often retransmissions began after a time without any.
func bursts(retransmits []int, gap time.Duration) (n int) {
	quiet := gap
	for _, sent := range retransmits {
		if quiet += iperfInterval; sent == 0 {
			continue
		}
		if quiet > gap {
			n++
		}
		quiet = 0
	}
	return n
}
