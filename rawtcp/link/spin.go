package link

import "golang.org/x/sys/unix"

// Spin says how often a receiving goroutine that finds nothing looks once more
// before it sleeps: waking it costs more than a few looks, so they pay while
// traffic flows, and there are more the more that has paid lately. Its zero value
// is ready; it belongs to one goroutine.
type Spin struct{ most int }

const minSpin, maxSpin = 2, 40

// Found notes that something was found after so many vain looks.
func (s *Spin) Found(vain int) {
	if vain > 0 {
		s.most = min(2*max(s.most, minSpin), maxSpin)
	}
}

// Again says whether to look once more, after so many vain looks before the one
// that was vain just now. It lets another thread have the core meanwhile.
func (s *Spin) Again(vain int) bool {
	if vain >= max(s.most, minSpin) {
		s.most = max(s.most/2, minSpin)
		return false
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return true
}
