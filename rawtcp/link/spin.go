package link

import "runtime"

// Spin says how often a receiving goroutine that finds nothing looks once more
// before it sleeps: waking it costs more than a few looks, so they pay while
// traffic flows, and there are more the more that has paid lately. Between them it
// does not yield: on a busy machine that would give away the processor for a whole
// time slice, milliseconds, whereas one who sleeps is woken at once. Its zero value
// is ready; it belongs to one goroutine.
type Spin struct{ most int }

// A look takes some tens of nanoseconds, or half a microsecond if it is a system
// call.
const minSpin, maxSpin = 8, 100

// alone is whether looking again would only keep the sender from running.
var alone = runtime.GOMAXPROCS(0) == 1

// Found notes that something was found after so many vain looks.
func (s *Spin) Found(vain int) {
	if vain > 0 {
		s.most = min(2*max(s.most, minSpin), maxSpin)
	}
}

// Again says whether to look once more, after so many vain looks before the one
// that was vain just now.
func (s *Spin) Again(vain int) bool {
	if alone || vain >= max(s.most, minSpin) {
		s.most = max(s.most/2, minSpin)
		return false
	}
	return true
}
