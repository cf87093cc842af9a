package link

import "sync/atomic"

// Spares keeps a few values for reuse, without a lock and without losing them to
// the garbage collector. Its zero value is ready; any goroutine may use it.
type Spares[T any] struct{ slots [4]atomic.Pointer[T] }

// Take returns a value that was given, as it was then, or a new one.
func (s *Spares[T]) Take() *T {
	for i := range s.slots {
		if v := s.slots[i].Swap(nil); v != nil {
			return v
		}
	}
	return new(T)
}

// Give takes v back. What v borrowed must not be kept alive by it.
func (s *Spares[T]) Give(v *T) {
	for i := range s.slots {
		if s.slots[i].CompareAndSwap(nil, v) {
			return
		}
	}
}
