package loss

import (
	"context"
	"strings"
	"time"
)

// scenario is one case of the report.
type scenario struct {
	name, title string
	from        string   // knobs of the line from its beginning, besides the usual ones
	line        string   // knobs turned once the contender is connected
	flags       []string // of our nodes
	bare        bool     // the bare line can take part
	measure     func(ctx context.Context, w *way, length time.Duration) (figures, error)
	bounds      map[string]bound // by figure
}

// UDP streams: the first is a video, the second a game.
const (
	videoSize, videoRate = 1200, 20e6 / 8 / 1200
	gameSize, gameRate   = 120, 60
)

// scenarios are measured in this order.
var scenarios = append(append([]scenario{
	{name: "clean-tcp", title: "no loss, TCP", bare: true, measure: tcp,
		bounds: map[string]bound{mbps: ratio(fecOff).atLeast(0.98), wire: ratio(fecOff).atMost(1.005)}},
	{name: "clean-udp", title: "no loss, UDP 20 Mbit/s", bare: true, measure: udp(videoRate, videoSize),
		bounds: map[string]bound{wire: ratio(fecOff).atMost(1.005), p50: beyond(fecOff).atMost(0.5), p99: beyond(fecOff).atMost(1)}},
}, lossy()...), []scenario{
	{name: "burst-tcp", title: "3 % in bursts of 8, TCP", line: "burst=3%/8", bare: true, measure: tcp,
		bounds: map[string]bound{mbps: value.atLeast(55)}},
	{name: "burst-udp", title: "3 % in bursts of 8, UDP 20 Mbit/s", line: "burst=3%/8", bare: true, measure: udp(videoRate, videoSize),
		bounds: map[string]bound{residual: value.atMost(0.1)}},
	{name: "udp-random", title: "5 % random, UDP 20 Mbit/s", line: "loss=5%", bare: true, measure: udp(videoRate, videoSize),
		bounds: map[string]bound{residual: value.atMost(0.1), wire: ratio(fecOff).atMost(1 + 2*0.05 + 0.1), p99: value.atMost(10)}},
	{name: "udp-burst", title: "3 % in bursts of 5, UDP 20 Mbit/s", line: "burst=3%/5", bare: true, measure: udp(videoRate, videoSize),
		bounds: map[string]bound{residual: value.atMost(0.1), wire: ratio(fecOff).atMost(1 + 2*0.03 + 0.1)}},
	{name: "game", title: "5 % random, UDP 60 packets/s of 120 B", line: "loss=5%", bare: true, measure: udp(gameRate, gameSize),
		bounds: map[string]bound{residual: value.atMost(0.5), p99: value.atMost(15)}},
	{name: "congested-50", title: "20 Mbit/s, queue of 50 ms, TCP", line: "rate=20mbit queue=50ms", bare: true, measure: tcp, bounds: harmless},
	{name: "congested-10", title: "20 Mbit/s, queue of 10 ms, TCP", line: "rate=20mbit queue=10ms", bare: true, measure: tcp, bounds: harmless},
	{name: "blackhole", title: "blackhole of 10 s, UDP 50 packets/s", measure: blackhole,
		bounds: map[string]bound{recovery: value.atMost(1.5), kept: value.atLeast(100)}},
	{name: "fake-dead", title: "the flow vanishes, new ones pass, UDP 50 packets/s", measure: fakeDead,
		bounds: map[string]bound{recovery: value.atMost(3)}},
	{name: "address", title: "the client's address changes under TCP", measure: newAddress,
		bounds: map[string]bound{stall: value.atMost(2), survives: value.atLeast(1)}},
	{name: "mtu", title: "path MTU 1400 to 1280, ICMP swallowed, under TCP", from: "mtu=1400", flags: []string{"--mtu", "0"}, measure: shrink,
		bounds: map[string]bound{stall: value.atMost(5), survives: value.atLeast(1)}},
}...)

// lossy are the scenarios of TCP under random loss.
func lossy() (all []scenario) {
	for _, c := range []struct {
		share          string
		goodput, bytes float64
	}{{"1%", 75, 1.3}, {"3%", 70, 1.3}, {"5%", 65, 1.3}, {"10%", 58, 1.45}} {
		all = append(all, scenario{name: "random-" + strings.TrimSuffix(c.share, "%"), title: strings.TrimSuffix(c.share, "%") + " % random, TCP",
			line: "loss=" + c.share, bare: true, measure: tcp,
			bounds: map[string]bound{mbps: value.atLeast(c.goodput), wire: value.atMost(c.bytes)}})
	}
	return all
}

// harmless is what congestion must not make worse.
var harmless = map[string]bound{mbps: ratio(fecOff).atLeast(0.95), wire: ratio(fecOff).atMost(1.05), rtt: ratio(fecOff).atMost(1.3)}

func scenarioNames() string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}
