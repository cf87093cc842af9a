package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel is what runs below.
type kernel struct{ release string }

// The oldest kernel that is supported.
const leastMajor, leastMinor = 5, 4

func findKernel() kernel {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return kernel{}
	}
	return kernel{unix.ByteSliceToString(u.Release[:])}
}

func (k kernel) judge() Check {
	c := Check{Name: "kernel", Verdict: OK, Found: "Linux " + k.release}
	major, minor, ok := version(k.release)
	switch {
	case !ok:
		c.Verdict, c.Found = Warn, fmt.Sprintf("the kernel's release %q cannot be read", k.release)
		c.Fix = fmt.Sprintf("make sure that it is Linux %d.%d or later", leastMajor, leastMinor)
	case major < leastMajor || major == leastMajor && minor < leastMinor:
		c.Verdict = Fail
		c.Found += fmt.Sprintf(" is older than %d.%d, the oldest that is supported", leastMajor, leastMinor)
		c.Fix = fmt.Sprintf("update the kernel to Linux %d.%d or later", leastMajor, leastMinor)
	}
	return c
}

// version reads the first two numbers of a release such as 6.1.0-18-amd64.
func version(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest[:end])
	return major, minor, err == nil && err2 == nil
}
