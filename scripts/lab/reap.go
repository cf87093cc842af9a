package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// namePrefix starts the name of every namespace that any lab makes:
// lt<pid>x<start time of that process>-<lab>-<role>. A process id alone would
// come to name somebody else one day.
const namePrefix = "lt"

// patience is how long a killed process may take to be gone.
const patience = 5 * time.Second

func ownPrefix() string {
	return fmt.Sprintf("%s%dx%d-", namePrefix, os.Getpid(), startTime(os.Getpid()))
}

// dirPrefix starts the path of every lab's directory.
func dirPrefix() string { return os.TempDir() + "/lightweight-tunnel-lab-" }

// startTime is when a process began, in ticks since boot; 0 if there is none.
func startTime(pid int) uint64 {
	fields := procStat(pid)
	if len(fields) < 20 {
		return 0
	}
	ticks, _ := strconv.ParseUint(fields[19], 10, 64)
	return ticks
}

// procStat returns the fields of /proc/PID/stat from the third (state) on: the
// second, the command's name, may hold spaces. proc(5).
func procStat(pid int) []string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	return strings.Fields(rest)
}

// janitor removes this process's namespaces once the process is gone. It learns
// of that by its standard input, which ends with the process however it ends.
const janitor = `trap '' INT TERM HUP
cat >/dev/null
for ns in $(ip netns list | awk -v p="$1" 'index($1, p) == 1 { print $1 }'); do
	ip netns pids "$ns" | xargs -r kill -9
	ip netns del "$ns"
done
rm -rf "$2"*`

// startJanitor clears away what dead labs left behind and starts this process's
// own janitor, both once.
var startJanitor = sync.OnceValue(func() error {
	if err := reap(); err != nil {
		return err
	}
	// The writing end is a bare number and no *os.File, so that nothing but the
	// end of this process closes it.
	var leash [2]int
	if err := syscall.Pipe2(leash[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("lab: pipe to the janitor: %w", err)
	}
	read := os.NewFile(uintptr(leash[0]), "leash")
	cmd := exec.Command("sh", "-c", janitor, "janitor", ownPrefix(), dirPrefix()+ownPrefix())
	cmd.Stdin = read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("lab: start janitor: %w", err)
	}
	return read.Close()
})

// reap removes the namespaces of labs whose process is gone.
func reap() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	list, err := output(ctx, "ip", "netns", "list")
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pid, began, ok := maker(name); ok && startTime(pid) != began {
			// Another process may be reaping the same one: that it is gone is
			// all that matters.
			_ = remove(name)
		}
	}
	dirs, err := filepath.Glob(dirPrefix() + "*")
	for _, dir := range dirs {
		if pid, began, ok := maker(strings.TrimPrefix(dir, dirPrefix())); ok && startTime(pid) != began {
			_ = os.RemoveAll(dir)
		}
	}
	return err
}

// maker reads the process that made a namespace out of its name.
func maker(name string) (pid int, began uint64, ok bool) {
	rest, found := strings.CutPrefix(name, namePrefix)
	if !found {
		return 0, 0, false
	}
	n, err := fmt.Sscanf(rest, "%dx%d-", &pid, &began)
	return pid, began, err == nil && n == 2
}

// remove kills what runs in a namespace and deletes it.
func remove(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	err := Until(ctx, "the processes in "+name+" end", func() error {
		pids, err := output(ctx, "ip", "netns", "pids", name)
		if err != nil || strings.TrimSpace(pids) == "" {
			return err
		}
		for _, p := range strings.Fields(pids) {
			if pid, err := strconv.Atoi(p); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return fmt.Errorf("still there: %s", strings.Join(strings.Fields(pids), " "))
	})
	if err != nil {
		return err
	}
	_, err = output(ctx, "ip", "netns", "del", name)
	return err
}
