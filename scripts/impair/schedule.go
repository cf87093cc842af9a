package impair

import "time"

// schedule holds frames until they are due, in order of their times and, for
// equal times, of their arrival. Buffers are reused. The zero value is empty
// and holds any number.
type schedule struct {
	heap    []entry
	buffers [][]byte // by index; each frameRoom long
	free    []int32  // indices of buffers in no use
	pushed  uint64
}

type entry struct {
	at     time.Duration
	order  uint64
	buffer int32
	length int32
}

func (e entry) before(o entry) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// push copies a frame, at most frameRoom long.
func (s *schedule) push(at time.Duration, frame []byte) {
	if len(s.free) == 0 {
		const chunk = 256
		memory := make([]byte, chunk*frameRoom)
		for i := range chunk {
			s.free = append(s.free, int32(len(s.buffers)))
			s.buffers = append(s.buffers, memory[i*frameRoom:(i+1)*frameRoom])
		}
	}
	buffer := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	copy(s.buffers[buffer], frame)
	s.pushed++
	s.heap = append(s.heap, entry{at: at, order: s.pushed, buffer: buffer, length: int32(len(frame))})
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.heap[i].before(s.heap[parent]) {
			break
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

// next is when the first frame is due; false if there is none.
func (s *schedule) next() (at time.Duration, any bool) {
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].at, true
}

// pop takes the first frame if it is due. It may be read until release.
func (s *schedule) pop(now time.Duration) (e entry, frame []byte, due bool) {
	if len(s.heap) == 0 || s.heap[0].at > now {
		return entry{}, nil, false
	}
	e = s.heap[0]
	last := len(s.heap) - 1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && s.heap[child+1].before(s.heap[child]) {
			child++
		}
		if !s.heap[child].before(s.heap[i]) {
			break
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
	return e, s.buffers[e.buffer][:e.length], true
}

// release gives a popped frame's buffer back.
func (s *schedule) release(e entry) { s.free = append(s.free, e.buffer) }
