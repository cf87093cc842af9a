package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// sample is one measurement.
type sample struct {
	value    float64
	cpuPerGB float64 // seconds of both ends' processes; 0 where it was not measured
	idle     int     // seconds in which nothing moved, of a TCP transfer
}

func (s sample) String() string {
	if s.cpuPerGB > 0 {
		return fmt.Sprintf("%10.2f  (%.2f CPU s/GB)", s.value, s.cpuPerGB)
	}
	return fmt.Sprintf("%10.2f", s.value)
}

// kase is one kind of measurement.
type kase struct {
	name, title string
	measure     func(ctx context.Context, c *contender, seconds int) (sample, error)
}

// cases are measured in this order.
var cases = []kase{
	{"tcp1-up", "TCP, 1 stream, to the seed (Mbit/s)", tcp("-P", "1")},
	{"tcp1-down", "TCP, 1 stream, from the seed (Mbit/s)", tcp("-P", "1", "-R")},
	{"tcp4-up", "TCP, 4 streams, to the seed (Mbit/s)", tcp("-P", "4")},
	{"tcp4-down", "TCP, 4 streams, from the seed (Mbit/s)", tcp("-P", "4", "-R")},
	{"udp64", "UDP, 64 B (received packets/s)", udp(64)},
	{"udp1200", "UDP, 1200 B (received packets/s)", udp(1200)},
	{"ping", "ping, idle (average ms)", ping},
	{"ping-busy", "ping, every processor busy with something else (average ms)", pingBusy},
}

func caseNames() string {
	var names []string
	for _, k := range cases {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

// iperfPort is where iperf3 listens on the right host.
const iperfPort = 5201

// iperfResult is the part of iperf3's JSON that we read.
type iperfResult struct {
	Error     string
	Intervals []struct {
		Sum struct{ Seconds, Bytes float64 }
	}
	End struct {
		Sum struct { // of UDP, as the receiver reported it
			Seconds     float64
			Packets     float64
			LostPackets float64 `json:"lost_packets"`
		}
		SumReceived struct { // of TCP
			Seconds float64
			Bytes   float64
		} `json:"sum_received"`
	}
}

// idle counts the whole seconds in which nothing moved. The last interval may be
// a splinter of one.
func (r iperfResult) idle() (n int) {
	for _, i := range r.Intervals {
		if i.Sum.Seconds > 0.5 && i.Sum.Bytes == 0 {
			n++
		}
	}
	return n
}

// iperf runs one iperf3 transfer between the two ends of a contender.
func iperf(ctx context.Context, c *contender, seconds int, args ...string) (iperfResult, error) {
	var result iperfResult
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+20*time.Second)
	defer cancel()
	server, err := c.pair.Right.Start(lab.Command{Path: "iperf3", Args: []string{"-s", "-1", "-p", strconv.Itoa(iperfPort)}})
	if err != nil {
		return result, err
	}
	defer func() { _ = server.Kill() }() // it ends by itself when all went well
	if err := c.pair.Right.Listener(ctx, iperfPort); err != nil {
		return result, err
	}
	out, err := c.pair.Left.Run(ctx, "iperf3", append([]string{"-J", "-c", c.target, "-p", strconv.Itoa(iperfPort), "-t", strconv.Itoa(seconds)}, args...)...)
	if jsonErr := json.Unmarshal([]byte(out), &result); err == nil && jsonErr != nil {
		err = fmt.Errorf("iperf3 printed what is not JSON: %w: %s", jsonErr, out)
	}
	if result.Error != "" {
		err = fmt.Errorf("iperf3: %s", result.Error)
	}
	return result, err
}

// tcp measures goodput in Mbit/s. Congestion control is cubic, set on each
// socket: what the machine prefers must not matter.
func tcp(args ...string) func(context.Context, *contender, int) (sample, error) {
	return func(ctx context.Context, c *contender, seconds int) (sample, error) {
		before, err := c.cpu()
		if err != nil {
			return sample{}, err
		}
		result, err := iperf(ctx, c, seconds, append([]string{"-C", "cubic"}, args...)...)
		if err != nil {
			return sample{}, err
		}
		after, err := c.cpu()
		if err != nil {
			return sample{}, err
		}
		received := result.End.SumReceived
		if received.Bytes == 0 || received.Seconds == 0 {
			return sample{}, fmt.Errorf("iperf3 %s moved nothing", strings.Join(args, " "))
		}
		return sample{
			value:    received.Bytes * 8 / received.Seconds / 1e6,
			cpuPerGB: (after - before).Seconds() / (received.Bytes / 1e9),
			idle:     result.idle(),
		}, nil
	}
}

// udp measures how many packets a second arrive when the sender sends as fast as it can.
func udp(size int) func(context.Context, *contender, int) (sample, error) {
	return func(ctx context.Context, c *contender, seconds int) (sample, error) {
		result, err := iperf(ctx, c, seconds, "-u", "-b", "0", "-l", strconv.Itoa(size))
		if err != nil {
			return sample{}, err
		}
		sum := result.End.Sum
		if sum.Seconds == 0 {
			return sample{}, fmt.Errorf("iperf3 says that it took no time")
		}
		return sample{value: (sum.Packets - sum.LostPackets) / sum.Seconds}, nil
	}
}

// ping measures the average round trip in ms with nothing else on the way.
func ping(ctx context.Context, c *contender, _ int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := c.pair.Left.Ping(ctx, c.target, 200, 0.01)
	if err != nil {
		return sample{}, err
	}
	// rtt min/avg/max/mdev = 0.011/0.015/0.030/0.004 ms
	_, after, _ := strings.Cut(out, "min/avg/max/mdev = ")
	parts := strings.Split(after, "/")
	if len(parts) != 4 {
		return sample{}, fmt.Errorf("ping reported: %s", out)
	}
	average, err := strconv.ParseFloat(parts[1], 64)
	return sample{value: average}, err
}

// pingBusy measures the same while other programs want more than all processors:
// how soon a node gets one when a packet is there.
func pingBusy(ctx context.Context, c *contender, seconds int) (sample, error) {
	for range runtime.NumCPU() + 1 {
		p, err := c.pair.Left.Start(lab.Command{Path: "sh", Args: []string{"-c", "while :; do :; done"}})
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = p.Kill() }() // fails only if SIGKILL does
	}
	return ping(ctx, c, seconds)
}

// median of the samples' values as `of` reads them; 0 without samples.
func median(samples []sample, of func(sample) float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}
