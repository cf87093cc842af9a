package impair_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func line(t testing.TB, knobs ...string) (*lab.Impaired, context.Context) {
	t.Helper()
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	profile, err := impair.Profile{}.With(knobs...)
	must(t, err)
	pair, err := l.Impaired(ctx, lab.ImpairedConfig{Line: profile, Seed: 7})
	must(t, err)
	return pair, ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flood is what the receiver of a UDP flood found.
type flood struct {
	Mbps          float64
	Packets, Lost int
}

// iperf floods the line with UDP from left to right; meanwhile runs once the
// flood is under way (iperf3's own messages must not be lost before).
func iperf(t testing.TB, ctx context.Context, pair *lab.Impaired, rate string, seconds int, meanwhile func()) flood {
	t.Helper()
	server, err := pair.Right.Start(lab.Command{Path: "iperf3", Args: []string{"-s", "-1"}})
	must(t, err)
	must(t, pair.Right.Listener(ctx, 5201))
	client, err := pair.Left.Start(lab.Command{Path: "iperf3", Args: []string{
		"-J", "-u", "-c", lab.PairRight4, "-t", strconv.Itoa(seconds), "-b", rate, "-l", "1400", "-w", "4M"}})
	must(t, err)
	must(t, lab.Until(ctx, "the flood is under way", func() error {
		if n := pair.Line.Stats(impair.There).In.Packets; n < 200 {
			return fmt.Errorf("%d packets so far: %s", n, client.Log())
		}
		return nil
	}))
	meanwhile()
	must(t, client.Wait(ctx))
	must(t, server.Wait(ctx)) // its port is free for the next flood
	var result struct {
		End struct {
			SumReceived struct {
				Bits    float64 `json:"bits_per_second"`
				Packets int
				Lost    int `json:"lost_packets"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(client.Log()), &result); err != nil {
		t.Fatalf("%v: %s%s", err, client.Log(), server.Log())
	}
	r := result.End.SumReceived
	return flood{r.Bits / 1e6, r.Packets, r.Lost}
}

func TestPingTakesTheDelayOfBothWays(t *testing.T) {
	pair, ctx := line(t, "delay=15ms")
	must(t, pair.Line.Turn([]impair.Direction{impair.Back}, "delay=10ms"))
	out, err := pair.Left.Ping(ctx, lab.PairRight4, 40, 0.02)
	must(t, err)
	times := regexp.MustCompile(`= ([\d.]+)/([\d.]+)/`).FindStringSubmatch(out)
	least, _ := strconv.ParseFloat(times[1], 64)
	mean, _ := strconv.ParseFloat(times[2], 64)
	t.Logf("25 ms: at least %.3f, on average %.3f", least, mean)
	if least < 25 || least > 25.8 {
		t.Errorf("of 25 ms there and back the fastest ping took %.3f", least)
	}
}

func TestIperfFindsTheRate(t *testing.T) {
	// The queue is long: a busy machine may keep the sender away for so long.
	pair, ctx := line(t, "delay=5ms", "rate=50mbit", "queue=200ms")
	got := iperf(t, ctx, pair, "90M", 2, func() {})
	s := pair.Line.Stats(impair.There)
	t.Logf("90 Mbit/s into 50: %+v, %+v", got, s)
	// 1400 of 1442 bytes of a frame count for iperf3.
	if want := 50 * 1400. / 1442; got.Mbps > want*1.02 || got.Mbps < want*0.7 {
		t.Errorf("a bottleneck of 50 Mbit/s let %.1f Mbit/s pass, want %.1f", got.Mbps, want)
	}
	if s.Dropped[impair.QueueFull].Packets == 0 || s.LongestQueue > 200*time.Millisecond || s.LongestQueue < 190*time.Millisecond {
		t.Errorf("a queue of 200 ms was flooded: %+v", s)
	}
}

func TestIperfFindsTheLoss(t *testing.T) {
	pair, ctx := line(t, "delay=5ms")
	there := []impair.Direction{impair.There}
	got := iperf(t, ctx, pair, "40M", 2, func() { must(t, pair.Line.Turn(there, "loss=5%", "burst=5%/8")) })
	s := pair.Line.Stats(impair.There)
	t.Logf("%+v, %+v", got, s)
	dropped := int(s.Dropped[impair.Lost].Packets + s.Dropped[impair.LostInBurst].Packets)
	if got.Packets < 1000 || dropped < got.Packets/20 || dropped > got.Packets/6 {
		t.Errorf("of %d packets the line dropped %d, want about 10 %%", got.Packets, dropped)
	}
	// What was lost at the very end nobody missed.
	if got.Lost < dropped-10 || got.Lost > dropped+10 {
		t.Errorf("the line dropped %d packets, iperf3 missed %d", dropped, got.Lost)
	}
}

func TestKnobsTurnWhilePacketsFlow(t *testing.T) {
	pair, ctx := line(t, "delay=1ms")
	reaches := func(want bool, more ...string) {
		t.Helper()
		if out, err := pair.Left.Ping(ctx, lab.PairRight4, 3, 0.01, more...); (err == nil) != want {
			t.Errorf("ping %v: want an answer: %v, got\n%s", more, want, out)
		}
	}
	reaches(true, "-s", "1400")
	must(t, pair.Line.Turn(impair.Both, "mtu=1280"))
	reaches(false, "-s", "1400", "-W", "0.2")
	reaches(true, "-s", "1252")
	must(t, pair.Line.Turn([]impair.Direction{impair.Back}, "mtu=0", "blackhole=on"))
	reaches(false, "-W", "0.2")
	pair.Line.Heal(impair.Both)
	reaches(true)
	must(t, pair.Line.Turn(impair.Both, "duplicate=100%"))
	out, err := pair.Left.Ping(ctx, lab.PairRight4, 3, 0.01)
	must(t, err)
	if !strings.Contains(out, "duplicates") {
		t.Errorf("everything comes twice, and ping says\n%s", out)
	}
	if err := pair.Line.Turn(impair.Both, "los=1%"); err == nil {
		t.Error("there is a knob `los`")
	}
}

func TestAVanishedFlowIsDeadAndANewOneLives(t *testing.T) {
	pair, ctx := line(t)
	in, err := pair.Right.ListenPacket(ctx, lab.PairRight4)
	must(t, err)
	defer in.Close()
	must(t, in.SetReadDeadline(time.Now().Add(10*time.Second)))
	say := func(text string) net.Conn {
		out, err := pair.Left.Dial(ctx, "udp", in.LocalAddr().String())
		must(t, err)
		t.Cleanup(func() { out.Close() })
		_, err = out.Write([]byte(text))
		must(t, err)
		return out
	}
	hears := func(want string) {
		t.Helper()
		buffer := make([]byte, 100)
		n, _, err := in.ReadFrom(buffer)
		must(t, err)
		if got := string(buffer[:n]); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	first := say("one")
	hears("one")
	if flows := pair.Line.VanishSeen(impair.Both); len(flows) != 1 {
		t.Errorf("one flow was there, %v vanished", flows)
	}
	_, err = first.Write([]byte("lost"))
	must(t, err)
	say("two")
	hears("two")
	pair.Line.Heal(impair.Both)
	_, err = first.Write([]byte("back"))
	must(t, err)
	hears("back")
	if s := pair.Line.Stats(impair.There); s.Dropped[impair.Vanished].Packets != 1 {
		t.Errorf("one packet vanished, counted: %+v", s)
	}
}

func TestControlObeysLinesAndNamesWhatIsWrong(t *testing.T) {
	pair, ctx := line(t)
	var out strings.Builder
	quit, err := impair.Control(pair.Line, strings.NewReader(`
both delay=3ms loss=0.5
back heal
both vanish tcp 192.0.2.1:1 192.0.2.2:2
both vanish udp nowhere 192.0.2.2:2
there rate=fast
dance
reset
stats
quit
stats
`), &out)
	must(t, err)
	answers := strings.Split(strings.TrimSpace(out.String()), "\n")
	if !quit || len(answers) != 8 {
		t.Fatalf("quit %v, answers:\n%s", quit, out.String())
	}
	for i, want := range []string{"ok", "ok", "ok", "error: ", "error: rate=fast: ", `error: "dance" is no command`, "ok", `{"back":{"in":{"packets":0,"bytes":0}`} {
		if !strings.HasPrefix(answers[i], want) {
			t.Errorf("answer %d is %q, want %q...", i+1, answers[i], want)
		}
	}
	must(t, pair.Line.Turn(impair.Both, "loss=0"))
	out2, err := pair.Left.Ping(ctx, lab.PairRight4, 20, 0.01)
	must(t, err)
	if !strings.Contains(out2, "min/avg/max/mdev = 6.") {
		t.Errorf("3 ms each way by command, and ping says\n%s", out2)
	}
}

func TestAFloodPassesWholeAndIsCounted(t *testing.T) {
	pair, ctx := line(t, "delay=25ms")
	got := iperf(t, ctx, pair, "500M", 2, func() {})
	s := pair.Line.Stats(impair.There)
	t.Logf("%+v, %+v", got, s)
	if s.In != s.Out || s.Host.Overrun+s.Host.Refused+s.Host.Unsent > 0 {
		t.Errorf("something was lost on a line that loses nothing: %+v", s)
	}
	// How fast is for BenchmarkBridge to say; that none passed uncounted is for this.
	if n := uint64(got.Packets); n < 1000 || s.In.Packets < n || s.In.Bytes < n*1442 {
		t.Errorf("iperf3 sent %d packets of 1442 bytes, the line counted %+v", n, s.In)
	}
}

// BenchmarkBridge floods the line with 500 Mbit/s of 1400 B datagrams, a second each time:
//
//	go test -run - -bench Bridge ./scripts/impair
//
// lost/op are datagrams that the line lost or that came too fast for it.
func BenchmarkBridge(b *testing.B) {
	pair, ctx := line(b, "delay=25ms")
	mbps, packets, used, n := 0.0, 0.0, cpu(b), 0
	for b.Loop() {
		got := iperf(b, ctx, pair, "500M", 1, func() {})
		mbps, packets, n = mbps+got.Mbps, packets+float64(got.Packets), n+1
	}
	s := pair.Line.Stats(impair.There)
	b.ReportMetric(mbps/float64(n), "Mbit/s")
	b.ReportMetric(packets/(cpu(b)-used).Seconds(), "packets/CPU-s")
	b.ReportMetric(float64(s.In.Packets-s.Out.Packets+s.Host.Overrun+s.Host.Refused+s.Host.Unsent)/float64(n), "lost/op")
}

// cpu is the processor time that this process, and so the bridge, has used.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestALineOutlivesADeviceThatIsDownForAWhile(t *testing.T) {
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	pair, err := l.Impaired(ctx, lab.ImpairedConfig{})
	must(t, err)
	_, err = pair.LineHost.Shell(ctx, "ip link set left down")
	must(t, err)
	before := cpu(t)
	if _, err := pair.Left.Ping(ctx, lab.PairRight4, 2, 0.2, "-W", "0.2"); err == nil {
		t.Error("a device that is down carries packets")
	}
	if used := cpu(t) - before; used > 150*time.Millisecond {
		t.Errorf("waiting for a device that is down took %s of CPU", used)
	}
	_, err = pair.LineHost.Shell(ctx, "ip link set left up")
	must(t, err)
	must(t, pair.Left.Reaches(ctx, lab.PairRight4))
}
