package punch

import (
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Input is something that happened.
type Input interface{ input() }

type (
	// Look says how things are now. It is given whenever something may have
	// changed, and when [Opener.Next] is due.
	Look struct {
		Local  *Offer      // nil: as before
		Up     bool        // the peer is reached, one way or the other
		Direct packet.Path // the path in use, if it leads through no relay
		Wanted bool        // a direct path would be of use now
		RTT    time.Duration
	}
	// Called says that the peer calls.
	Called struct {
		Try   uint64
		Delay time.Duration
		Offer Offer
	}
	// Answered says that the peer has answered the call; Refused: it takes no part.
	Answered struct {
		Try     uint64
		Refused bool
		Offer   Offer
	}
	// Gathered answers [Gather], as often as something was learnt; Done: that is all.
	Gathered struct {
		Try        uint64
		Candidates []Candidate
		Done       bool
	}
	// Got answers [Open].
	Got struct {
		Try     uint64
		Sockets []packet.Socket
	}
	// Asked says that a probe of the peer came on a path.
	Asked struct {
		Try  uint64
		Path packet.Path
	}
	// Echoed says that the answer to a probe came on a path.
	Echoed struct {
		Try  uint64
		Seq  uint32
		Path packet.Path
	}
	// Crossed brings a connection that [Cross] or [Dial] asked for.
	Crossed struct {
		Try  uint64
		Path packet.Path
	}
)

func (Look) input()     {}
func (Called) input()   {}
func (Answered) input() {}
func (Gathered) input() {}
func (Got) input()      {}
func (Asked) input()    {}
func (Echoed) input()   {}
func (Crossed) input()  {}

// Effect is something to be done. Effects are done in their order.
type Effect interface{ effect() }

type (
	// Gather asks for ports to be held for fake TCP, one per family, and for what
	// others see of them; Fresh: also for the newest port that the NAT has given to
	// a socket for UDP. Answered by [Gathered]; what is not there Within is not
	// waited for.
	Gather struct {
		Try    uint64
		Hold4  bool
		Hold6  bool
		Ask    bool // others, how the port for IPv4 is mapped
		Fresh  bool
		Within time.Duration
	}
	// Call calls the peer; Answer answers its call.
	Call struct {
		Try   uint64
		Delay time.Duration
		Offer Offer
	}
	Answer struct {
		Try   uint64
		Offer Offer
	}
	// Open asks for N sockets of one family; answered by [Got].
	Open struct {
		Try uint64
		N   int
		V6  bool
	}
	// Probe sends a probe, on Path or, if that is nil, from Socket to Remote. Hops
	// of zero are those that the system takes.
	Probe struct {
		Try    uint64
		Seq    uint32
		Path   packet.Path
		Socket packet.Socket
		Remote netip.AddrPort
		Hops   uint8
	}
	// Cross opens fake TCP from the held port of a family; answered by [Crossed], if
	// it succeeds.
	Cross struct {
		Try uint64
		V6  bool
		packet.Crossing
	}
	// Dial opens fake TCP to a port at which the peer listens; answered alike.
	Dial struct {
		Try    uint64
		Remote netip.AddrPort
	}
	// Move says that a path is proven, and chosen; if a direct one is in use already,
	// it is a second one of another kind, to be kept warm.
	Move struct {
		Path packet.Path
		RTT  time.Duration
	}
	// End lets go of everything that was opened and is not in use.
	End struct{ Try uint64 }
	// Report is a line for the log: what became of a try.
	Report struct {
		Path   packet.Path // nil: none was found
		Why    string
		Stats  Stats
		Tries  int
		NextIn time.Duration
	}
)

func (Gather) effect() {}
func (Call) effect()   {}
func (Answer) effect() {}
func (Open) effect()   {}
func (Probe) effect()  {}
func (Cross) effect()  {}
func (Dial) effect()   {}
func (Move) effect()   {}
func (End) effect()    {}
func (Report) effect() {}

// Stats count what one try did.
type Stats struct {
	Probes  int           // sent, those of Spread among them
	Spread  int           // to ports chosen at random
	Asked   int           // probes of the peer that came
	Proven  int           // paths on which a round trip was made
	Crossed int           // connections of fake TCP that opened
	Took    time.Duration // until the first path was proven
}
