package doctor

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rights are the capabilities that this process has now.
type rights struct {
	effective uint64
	known     bool
}

func findRights() rights {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return rights{}
	}
	return parseRights(string(status))
}

// parseRights reads the line CapEff of proc_pid_status(5).
func parseRights(status string) rights {
	for line := range strings.Lines(status) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return rights{bits, err == nil}
		}
	}
	return rights{}
}

func (r rights) has(capability uint) bool { return r.effective&(1<<capability) != 0 }

func (r rights) judge() Check {
	c := Check{Name: "capabilities", Verdict: OK, Found: "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are there"}
	if !r.known {
		c.Verdict, c.Found, c.Fix = Warn, "cannot be read from /proc", "mount /proc"
		return c
	}
	var lacking []string
	for _, need := range []struct {
		capability uint
		name       string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if !r.has(need.capability) {
			lacking = append(lacking, need.name)
		}
	}
	switch {
	case len(lacking) > 0:
		c.Verdict, c.Found = Fail, "this process lacks "+strings.Join(lacking, " and ")
		c.Fix = "run it as root; in a container add these capabilities (--cap-add NET_ADMIN --cap-add NET_RAW)"
	case !r.has(unix.CAP_BPF) && !r.has(unix.CAP_SYS_ADMIN): // before Linux 5.8 the latter
		c.Verdict, c.Found = Warn, "CAP_NET_ADMIN and CAP_NET_RAW are there, CAP_BPF is not: eBPF cannot be used"
		c.Fix = "add CAP_BPF (in a container --cap-add BPF); without it nftables does the work"
	}
	return c
}
