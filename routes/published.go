package routes

import "sync/atomic"

// Published is where the pumps and the control socket find the present
// snapshots. It outlives the actor that fills it, so a restart of that is not
// seen by a packet. Its zero value is ready; any goroutine may read it.
type Published struct {
	fib    atomic.Pointer[FIB]
	view   atomic.Pointer[View]
	memory atomic.Pointer[Memory]
}

// FIB returns the present forwarding table; before the first decision it is nil,
// which knows nobody. A pump takes it once per batch.
func (p *Published) FIB() *FIB { return p.fib.Load() }

// View returns what `node routes` shows.
func (p *Published) View() *View {
	if v := p.view.Load(); v != nil {
		return v
	}
	return &View{Routes: []Row{}, Problems: []string{}}
}
