package control

// PeersView is `node peers --json`. Fields may be added, never renamed.
type PeersView struct {
	Self  SelfView   `json:"self"`
	Peers []PeerView `json:"peers"`
}

// SelfView is the node that answers.
type SelfView struct {
	Name      string   `json:"name"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
	Listen    []string `json:"listen"`
	NAT       string   `json:"nat"`
	Version   string   `json:"version"`
	Interface string   `json:"interface"`
	MTU       int      `json:"mtu"`
	UptimeS   float64  `json:"uptime_s"`
}

// The states of a peer, as gossip sees it.
const (
	Alive   = "alive"
	Suspect = "suspect"
	Dead    = "dead"
	Left    = "left"
)

// PeerView is one other node: what gossip says of it, and the truth of the link.
type PeerView struct {
	Name      string   `json:"name"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
	State     string   `json:"state"`
	LastSeenS float64  `json:"last_seen_s"`
	Version   string   `json:"version"`
	NAT       string   `json:"nat"` // none, cone, symm and others of nat.Behaviour; empty: not known
	Routes    []string `json:"routes"`
	Seed      bool     `json:"seed"` // a configured seed, or one joined through
	Link      LinkView `json:"link"`
}

// The states of a link.
const (
	Up         = "up"
	Connecting = "connecting"
	Down       = "down" // nobody wanted it yet, or it was given up: see Error
)

// LinkView is the encrypted link to a peer. Numbers that nobody measured yet
// are null.
type LinkView struct {
	State           string   `json:"state"`
	Path            string   `json:"path"`     // rawtcp, udp, relay; empty: none
	Endpoint        string   `json:"endpoint"` // ADDR:PORT of the far end of the path
	Via             string   `json:"via"`      // name of the relay, or empty
	MTU             int      `json:"mtu"`
	RTTMs           *float64 `json:"rtt_ms"`
	LossPct         *float64 `json:"loss_pct"`
	ResidualLossPct *float64 `json:"residual_loss_pct"`
	FECData         int      `json:"fec_data"` // 0: off
	FECParity       int      `json:"fec_parity"`
	FECDepth        int      `json:"fec_depth"`       // groups that are filled in turn, against bursts; 1: one after the other
	RecvQueuePeak   int      `json:"recv_queue_peak"` // most packets of the peer that waited at once to be put in order
	RxBytes         uint64   `json:"rx_bytes"`
	TxBytes         uint64   `json:"tx_bytes"`
	RxPackets       uint64   `json:"rx_packets"`
	TxPackets       uint64   `json:"tx_packets"`
	HandshakeAgeS   *float64 `json:"handshake_age_s"`
	WhyNotDirect    string   `json:"why_not_direct"`
	Error           string   `json:"error"` // why there is no link although one was wanted; empty: nothing is wrong
}

// Healthy says that nothing about p needs a look: gossip sees it, and the link
// has no error. A peer to which nobody has spoken yet is healthy; so is one
// that said goodbye, whatever became of its link.
func (p PeerView) Healthy() bool {
	return p.State == Left || p.State == Alive && p.Link.Error == ""
}

// StatusView is `node status --json`.
type StatusView struct {
	Healthy     bool              `json:"healthy"`
	Problems    []string          `json:"problems"`
	MemoryBytes uint64            `json:"memory_bytes"`
	Actors      []ActorView       `json:"actors"`
	Drops       map[string]uint64 `json:"drops"` // by reason
	Self        SelfView          `json:"self"`
	Mesh        MeshView          `json:"mesh"`
	Listen      []string          `json:"listen"`
	UDP         []string          `json:"udp"` // local ends of socket zero
	NAT         NATView           `json:"nat"`
	Guard       string            `json:"guard"`   // what keeps the kernel's TCP away, in words
	Send        string            `json:"send"`    // how datagrams go out, in words
	Receive     string            `json:"receive"` // how they come in, in words
	Kernel      string            `json:"kernel"`  // release, and what it offers
	NotInEffect []string          `json:"not_in_effect"`
}

// NATView is how a node looks from outside.
type NATView struct {
	Kind        string   `json:"kind"`        // as in PeerView; empty: not known
	Description string   `json:"description"` // all that is known, in words
	Endpoints   []string `json:"endpoints"`   // where the node may be reached
	PortMapped  string   `json:"port_mapped"` // what the router forwards; empty: nothing
	LifetimeS   *float64 `json:"lifetime_s"`  // the longest silence that a UDP mapping was seen to outlive; null: not measured
	Problems    []string `json:"problems"`
}

// MeshView counts the nodes of the mesh but this one, and this node's links.
type MeshView struct {
	Alive     int `json:"alive"`
	Suspect   int `json:"suspect"`
	Dead      int `json:"dead"`
	Left      int `json:"left"`
	LinksUp   int `json:"links_up"`
	LinksAll  int `json:"links"`
	LinksVia  int `json:"links_relayed"`
	RoutesIn  int `json:"routes_installed"`
	RoutesAll int `json:"routes"`
}

// CountMesh counts what peers says.
func CountMesh(peers []PeerView) (m MeshView) {
	for _, p := range peers {
		switch p.State {
		case Alive:
			m.Alive++
		case Suspect:
			m.Suspect++
		case Dead:
			m.Dead++
		case Left:
			m.Left++
		}
		if p.Link.State == Up || p.Link.State == Connecting {
			m.LinksAll++
		}
		if p.Link.State == Up {
			m.LinksUp++
			if p.Link.Via != "" {
				m.LinksVia++
			}
		}
	}
	return m
}

// ActorView is one actor of the tree with its children.
type ActorView struct {
	Name            string      `json:"name"`
	State           string      `json:"state"`
	Restarts        uint64      `json:"restarts"`
	MailboxDepth    int         `json:"mailbox_depth"`
	MailboxCapacity int         `json:"mailbox_capacity"` // 0: it has none
	Dropped         uint64      `json:"dropped"`
	LastError       string      `json:"last_error"`
	Children        []ActorView `json:"children"`
}

// RoutesView is `node routes --json`.
type RoutesView struct {
	Routes []RouteView `json:"routes"`
}

// RouteView is one prefix as one node announces it.
type RouteView struct {
	Prefix    string `json:"prefix"`
	Node      string `json:"node"`
	Installed bool   `json:"installed"`
	Metric    uint32 `json:"metric"` // microseconds of round trip, relays counted double
	Why       string `json:"why"`    // why it is installed or not, in words
}

// PingReply is one ping that came back, or did not.
type PingReply struct {
	Seq      int     `json:"seq"` // from 1
	Lost     bool    `json:"lost"`
	RTTMs    float64 `json:"rtt_ms"`
	Path     string  `json:"path"` // rawtcp, udp, relay: what this one travelled on
	Endpoint string  `json:"endpoint"`
	Via      string  `json:"via"`
	Reason   string  `json:"reason"` // why it was lost, if known
}
