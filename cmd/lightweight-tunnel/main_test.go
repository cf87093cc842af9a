package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){program: main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fakenode": fakeNode, "exit": exit, "onelinestderr": oneLineStderr,
		},
	})
}

// exit CODE COMMAND... runs the command and wants this exit code of it.
func exit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended interface{ ExitCode() int }
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s", code, args[0], ts.ReadFile("stderr"))
	}
}

// onelinestderr wants one line, of this program, on stderr.
func oneLineStderr(ts *testscript.TestScript, neg bool, _ []string) {
	text := ts.ReadFile("stderr")
	if neg || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, program+": ") {
		ts.Fatalf("stderr is not one line of the program: %q", text)
	}
}

// fakeNode DIR FILE serves the views in FILE on the control socket of DIR. What
// it is told to do it appends to DIR/log.
func fakeNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fakenode DIR FILE")
	}
	dir := ts.MkAbs(args[0])
	source := &scripted{log: filepath.Join(dir, "log")}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), source))
	socket, err := control.Listen(control.SocketPath(dir, ""))
	ts.Check(err)
	server, err := control.New(control.Config{Socket: socket, Source: source})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(errors.Join(<-ended, socket.Close()))
	})
}

// scripted is a node that shows what a file says.
type scripted struct {
	PeersIs  control.PeersView   `json:"peers"`
	StatusIs control.StatusView  `json:"status"`
	RoutesIs control.RoutesView  `json:"routes"`
	Pings    []control.PingReply `json:"pings"`
	log      string
}

func (s *scripted) Peers() control.PeersView   { return s.PeersIs }
func (s *scripted) Status() control.StatusView { return s.StatusIs }
func (s *scripted) Routes() control.RoutesView { return s.RoutesIs }
func (s *scripted) Ping(_ context.Context, peer string, count int, emit func(control.PingReply)) error {
	if !slices.ContainsFunc(s.PeersIs.Peers, func(p control.PeerView) bool { return p.Name == peer }) {
		return fmt.Errorf("no node is called %q: %w", peer, control.ErrNotFound)
	}
	for _, p := range s.Pings[:min(count, len(s.Pings))] {
		emit(p)
	}
	return nil
}
func (s *scripted) Join(_ context.Context, hostport string) error { return s.note("join " + hostport) }
func (s *scripted) Leave(context.Context) error                   { return s.note("leave") }
func (s *scripted) Fail(actor string) error                       { return s.note("fail " + actor) }

func (s *scripted) note(text string) error {
	f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	return errors.Join(err, f.Close())
}

// ptr is for the numbers that may be unknown.
func ptr(f float64) *float64 { return &f }

// The table is a promise to those who read it and to those who cut it.
func TestPeersTableIsThatOfTheContract(t *testing.T) {
	view := control.PeersView{Peers: []control.PeerView{
		{ID: "a", Name: "fra-seed", Addresses: []string{"10.0.0.1/24", "fd00::1/64"}, State: control.Alive, NAT: "none", Link: control.LinkView{
			State: control.Up, Path: "rawtcp", Endpoint: "203.0.113.9:9000", RTTMs: ptr(38.2), LossPct: ptr(2.1), FECData: 20, FECParity: 4}},
		{ID: "b", Name: "office", Addresses: []string{"10.0.0.9"}, State: control.Alive, NAT: "cone", Link: control.LinkView{
			State: control.Up, Path: "udp", Endpoint: "198.51.100.4:51822", RTTMs: ptr(12), LossPct: ptr(0)}},
		{ID: "c", Name: "nas", Addresses: []string{"10.0.0.12/24"}, State: control.Alive, NAT: "symm", LastSeenS: 1.4, Link: control.LinkView{
			State: control.Up, Path: "relay", Via: "fra-seed", RTTMs: ptr(71.4), LossPct: ptr(0.4), FECData: 20, FECParity: 2,
			WhyNotDirect: "both NATs symmetric, 3 tries, next in 40s"}},
		{ID: "d", Name: "lab", Addresses: []string{"10.0.0.20/24"}, State: control.Suspect, NAT: "cone", LastSeenS: 9, Link: control.LinkView{State: control.Down}},
	}}
	var b bytes.Buffer
	printPeers(&b, view, map[string]rate{"a": {4.1e6, 22e6}, "b": {1.2e6, 310e3}}, false)
	want := `NODE      ADDRESS    STATE    PATH                     RTT     LOSS  FEC   RX/s  TX/s  NAT   SEEN  WHY NOT DIRECT
fra-seed  10.0.0.1   alive    rawtcp 203.0.113.9:9000  38.2ms  2.1%  20+4  4.1M  22M   none  0s    -
office    10.0.0.9   alive    udp 198.51.100.4:51822   12.0ms  0.0%  off   1.2M  310k  cone  0s    -
nas       10.0.0.12  alive    relay via fra-seed       71.4ms  0.4%  20+2  0     0     symm  1s    both NATs symmetric, 3 tries, next in 40s
lab       10.0.0.20  suspect  -                        -       -     off   0     0     cone  9s    -
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestGroupsThatAreFilledInTurnAreShownBehindTheCode(t *testing.T) {
	for depth, want := range map[int]string{0: "20+4", 1: "20+4", 6: "20+4x6"} {
		if got := fecText(control.LinkView{State: control.Up, FECData: 20, FECParity: 4, FECDepth: depth}); got != want {
			t.Errorf("%d: %s, want %s", depth, got, want)
		}
	}
}

func TestRatesAreBitsPerSecondAndSurviveANewLink(t *testing.T) {
	link := func(id string, rx, tx uint64) control.PeerView {
		return control.PeerView{ID: id, Link: control.LinkView{RxBytes: rx, TxBytes: tx}}
	}
	before := control.PeersView{Peers: []control.PeerView{link("a", 1000, 500), link("b", 9000, 9000)}}
	now := control.PeersView{Peers: []control.PeerView{link("a", 2000, 500), link("b", 10, 9100), link("c", 5, 5)}}
	got := ratesOf(before, now, 500_000_000)
	if len(got) != 1 || got["a"] != (rate{16000, 0}) {
		t.Errorf("got %v", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 999: "999", 999.6: "1.0k", 4100000: "4.1M", 9960000: "10M", 22e6: "22M", 310e3: "310k", 1.5e12: "1.5T"} {
		if got := si(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
	for s, want := range map[float64]string{0.9: "0s", 59: "59s", 240: "4m", 11520: "3h12m", 432000: "5d", -1: "-"} {
		if got := span(s); got != want {
			t.Errorf("%v seconds are %s, want %s", s, got, want)
		}
	}
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	for in, want := range map[string]string{
		"node ping office -c 3":              "node ping -c 3 -- office",
		"node ping -c 3 office":              "node ping -c 3 -- office",
		"node ping office --state-dir=/x -c": "node ping --state-dir=/x -c -- office",
		"node peers --json --wide":           "node peers --json --wide",
		"-m server -xdp=false -l :1":         "-m server -xdp=false -l :1",
		"node join -- -x":                    "node join -- -x",
		"node nothing -c 3":                  "node nothing -c 3",
	} {
		got := strings.Join(flagsFirst(newApp(), strings.Fields(program+" "+in))[1:], " ")
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// Every command shows how it is used, by an example.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	var each func(commands []*cli.Command, above []string)
	each = func(commands []*cli.Command, above []string) {
		for _, c := range commands {
			path := append(slices.Clone(above), c.Name)
			if len(c.Subcommands) > 0 {
				each(c.Subcommands, path)
				continue
			}
			var out bytes.Buffer
			app := newApp()
			app.Writer = &out
			if err := app.Run(append(path, "--help")); err != nil {
				t.Errorf("%v --help: %v", path, err)
			}
			if !strings.Contains(out.String(), "Example:\n") || !strings.Contains(out.String(), "Usage: "+strings.Join(path, " ")) || c.Usage == "" {
				t.Errorf("%v --help:\n%s", path, out.String())
			}
		}
	}
	each(newApp().Commands, []string{program})
}

func TestManualNamesEveryCommandAndFlag(t *testing.T) {
	var out bytes.Buffer
	writeManual(&out, newApp())
	for _, want := range []string{".TH LIGHTWEIGHT", `node ping PEER`, `\-\-key\-file FILE`, `\-c, \-\-count N`, ".SH EXIT STATUS"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the manual lacks %s", want)
		}
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.HasPrefix(line, "'") || strings.Contains(line, "lightweight-tunnel") {
			t.Errorf("not escaped: %s", line)
		}
	}
}
