package rawtcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// The tests on a real kernel run this binary again inside network namespaces,
// in one of these roles.
var roles = map[string]func(args []string) (report, error){
	"echo":   echoNode,
	"client": clientNode,
	"sink":   sinkNode,
	"blast":  blastNode,
	"junk":   junk,
	"kernel": kernelListener,
	"knock":  knock,
}

// report is what a role prints at its end.
type report struct {
	Sent, Echoed int
	Resets       bool
	Status       Status
	Drops        map[string]uint64
	Error        string
}

const roleVariable = "RAWTCP_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	r, err := roles[role](os.Args[1:])
	if err != nil {
		r.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
}

// running is a role at work in a namespace.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Scanner
}

// start runs a role in n and waits for its first line.
func start(t *testing.T, n *nstest.NS, role string, args ...string) *running {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t, cmd, stdin, bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if !r.out.Scan() {
		t.Fatalf("%s says nothing", role)
	}
	if line := r.out.Text(); line != "ready" {
		t.Fatalf("%s: %s", role, line)
	}
	return r
}

// finish tells the role to end and returns its report.
func (r *running) finish() (rep report) {
	r.t.Helper()
	_ = r.stdin.Close()
	return r.wait()
}

// wait returns the report of a role that ends by itself.
func (r *running) wait() (rep report) {
	r.t.Helper()
	for r.out.Scan() {
		if err := json.Unmarshal(r.out.Bytes(), &rep); err == nil {
			return rep
		}
	}
	r.t.Fatal("no report")
	return rep
}

// live starts a real Transport with its actor; the caller pumps.
func live(cfg Config) (*Transport, error) {
	tr, err := New(cfg)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := tr.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	return tr, nil
}

func (r *report) take(tr *Transport) {
	r.Status, r.Drops = tr.Status(), tr.Drops()
}

// untilStdinEnds is how a role learns that its test is through.
func untilStdinEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }

// echoNode listens and sends back what it gets, a train for each receive.
func echoNode(listen []string) (rep report, err error) {
	var cfg Config
	for _, a := range listen {
		if a == "nobpf" {
			cfg.DisableBPF = true
			continue
		}
		cfg.Listen = append(cfg.Listen, netip.MustParseAddrPort(a))
	}
	tr, err := live(cfg)
	if err != nil {
		return rep, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		train := packet.NewTrain()
		for {
			in, err := tr.Receive()
			if err != nil {
				return
			}
			for len(in) > 0 {
				path := in[0].Path
				path.(*Flow).Adopt()
				train.Reset(path.Prefix())
				for len(in) > 0 && in[0].Path == path {
					b := train.Next(len(in[0].Data))
					if b == nil {
						break
					}
					copy(b, in[0].Data)
					in = in[1:]
				}
				_ = path.Send(train)
			}
		}
	}()
	fmt.Println("ready")
	untilStdinEnds()
	rep.take(tr)
	err = tr.Close()
	<-ended
	return rep, err
}

// clientNode dials and sends trains of 40 datagrams, keeping up to 2 in the air,
// and counts what comes back. Arguments: address, number of trains.
func clientNode(args []string) (rep report, err error) {
	fmt.Println("ready")
	tr, err := live(Config{})
	if err != nil {
		return rep, err
	}
	var trains int
	if _, err = fmt.Sscan(args[1], &trains); err != nil {
		return rep, err
	}
	arrived := make(chan int, 1<<16)
	go func() {
		defer close(arrived)
		for {
			in, err := tr.Receive()
			if err != nil {
				return
			}
			arrived <- len(in)
		}
	}()
	result := make(chan dialled, 1)
	tr.Dial(netip.MustParseAddrPort(args[0]), func(p packet.Path, err error) { result <- dialled{p, err} })
	d := <-result
	if d.err != nil {
		return rep, d.err
	}
	const perTrain = 40
	lost := 0
	for i := range trains {
		air := perTrain // bytes in flight stay below the window while it opens
		if i < 50 {
			air = 0
		}
		train := packet.NewTrain()
		train.Reset(d.path.Prefix())
		for range perTrain {
			train.Next(d.path.MaxDatagram())
		}
		if err := d.path.Send(train); err == nil {
			rep.Sent += perTrain
		}
		patience := time.After(100 * time.Millisecond)
		for rep.Sent-rep.Echoed-lost > air {
			select {
			case n := <-arrived:
				rep.Echoed += n
				continue
			case <-patience:
				lost = rep.Sent - rep.Echoed
			}
			break
		}
	}
	rest := time.After(time.Second)
	for rep.Echoed < rep.Sent {
		select {
		case n := <-arrived:
			rep.Echoed += n
			continue
		case <-rest:
		}
		break
	}
	if !d.path.Alive() {
		return rep, fmt.Errorf("the flow died")
	}
	rep.take(tr)
	return rep, tr.Close()
}

// kernelListener accepts with the kernel's TCP, reads and closes.
func kernelListener(args []string) (rep report, err error) {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return rep, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 100))
			_ = c.Close()
		}
	}()
	fmt.Println("ready")
	untilStdinEnds()
	return rep, l.Close()
}

// knock connects with the kernel's TCP, says a word and waits for the end.
func knock(args []string) (rep report, err error) {
	fmt.Println("ready")
	c, err := net.DialTimeout("tcp", args[0], 3*time.Second)
	if err != nil {
		return rep, err
	}
	defer func() { _ = c.Close() }()
	if len(args) > 1 {
		if _, err = c.Write([]byte(args[1])); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// capture runs tcpdump on v0 of n until the returned function is called, which
// gives the fields that tshark sees in the packets that match filter.
func capture(t *testing.T, n *nstest.NS) (fields func(filter string, names ...string) [][]string) {
	t.Helper()
	for _, tool := range []string{"tcpdump", "tshark"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	file := t.TempDir() + "/capture.pcap"
	cmd := exec.Command("tcpdump", "-Z", "root", "-U", "--immediate-mode", "-n", "-s", "128", "-i", "v0", "-w", file, "tcp")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(stderr); !lines.Scan() {
		t.Fatal("tcpdump does not start")
	} else {
		go func() {
			for lines.Scan() {
			}
		}()
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	return func(filter string, names ...string) (rows [][]string) {
		t.Helper()
		stop()
		args := []string{"-r", file, "-o", "tcp.analyze_sequence_numbers:TRUE", "-o", "tcp.relative_sequence_numbers:TRUE", "-Y", filter, "-T", "fields", "-E", "separator=|"}
		for _, name := range names {
			args = append(args, "-e", name)
		}
		out, err := exec.Command("tshark", args...).Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			rows = append(rows, strings.Split(strings.TrimRight(line, "\n"), "|"))
		}
		return rows
	}
}

// fails runs a role that must fail at once and returns its error.
func fails(t *testing.T, n *nstest.NS, role string, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	var out []byte
	var err error
	n.Do(func() { out, err = cmd.Output() })
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(out, &rep); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return rep.Error
}
