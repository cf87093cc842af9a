package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process runs in a namespace until it ends, is stopped, or its lab is closed.
type Process struct {
	PID  int
	in   *Namespace
	name string
	log  string // path of what it printed
	done chan struct{}
	cmd  *exec.Cmd
}

// Command says what to start.
type Command struct {
	Path string
	Args []string
	Env  []string // added to the environment
	Name string   // for messages and the name of the log; default: Path's last part
}

// Start starts a program in the namespace and returns at once. What it prints
// is kept in a file, see Log.
func (n *Namespace) Start(c Command) (*Process, error) {
	if c.Name == "" {
		c.Name = c.Path[strings.LastIndexByte(c.Path, '/')+1:]
	}
	p := &Process{in: n, name: n.Role + "/" + c.Name, log: n.lab.file(n.Role + "-" + c.Name + ".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// `ip netns exec` becomes the program: its process id is the program's.
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", n.Name, c.Path}, c.Args...)...)
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A Ctrl-C is for us alone: we stop them in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.PID = p.cmd.Process.Pid
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	// One that has not entered the namespace yet is not found there.
	n.lab.atClose(func() { _ = p.Kill() })
	return p, nil
}

// Log is everything that the process has printed so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the process's exit code, -1 if a signal ended it. It is valid
// once Done is closed.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Says waits until the process has printed a text. It fails at once when the
// process ends without having said it.
func (p *Process) Says(ctx context.Context, text string) error {
	return p.says(ctx, text, 0)
}

// SaysAgain is Says for what is printed after the first `seen` bytes of Log.
func (p *Process) SaysAgain(ctx context.Context, text string, seen int) error {
	return p.says(ctx, text, seen)
}

func (p *Process) says(ctx context.Context, text string, seen int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return Until(ctx, fmt.Sprintf("%s says %q", p.name, text), func() error {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		log := p.Log()
		if len(log) >= seen && strings.Contains(log[seen:], text) {
			return nil
		}
		if ended {
			cancel()
			return fmt.Errorf("it ended (%s) having said:\n%s", p.cmd.ProcessState, tail(log))
		}
		return fmt.Errorf("so far:\n%s", tail(log))
	})
}

// Wait waits until the process has ended.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended; so far:\n%s", p.name, tail(p.Log()))
	}
}

// Signal sends a signal to a process that has not ended.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended already (%s):\n%s", p.name, p.cmd.ProcessState, tail(p.Log()))
	default:
		return p.cmd.Process.Signal(s)
	}
}

// Stop asks the process to end (SIGTERM) and returns how long it took. When ctx
// ends first, it is killed and that is an error.
func (p *Process) Stop(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if err := p.Wait(ctx); err != nil {
		return time.Since(began), errors.Join(err, p.Kill())
	}
	return time.Since(began), nil
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-p.done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("%s survives kill -9: %w", p.name, err)
	}
}

// clockTicks is the kernel's unit of CPU time for user space: 100 a second on
// every architecture that Go runs on.
const clockTicks = 100

// CPU is the processor time, user and system, that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	fields := procStat(p.PID)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s is gone", p.name)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / clockTicks, err
}

// PeakRSS is the most memory, in bytes, that the process has had resident.
func (p *Process) PeakRSS() (int64, error) { return p.memory("VmHWM:") }

// RSS is the memory, in bytes, that the process has resident now.
func (p *Process) RSS() (int64, error) { return p.memory("VmRSS:") }

func (p *Process) memory(field string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(string(status), field)
	if !found {
		return 0, fmt.Errorf("%s is gone", p.name)
	}
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	return kib << 10, err
}

// tail is the end of a log: enough for an error message.
func tail(log string) string {
	const most = 3000
	if len(log) > most {
		return "..." + log[len(log)-most:]
	}
	return log
}
