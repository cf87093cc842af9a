package nat

import (
	"net/netip"
	"slices"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Server is somebody who can be asked how a socket is seen.
type Server struct {
	Node message.NodeID // of the mesh; zero: a public server, asked in the clear
	Name string         // as the user knows it, for the log
	Addr netip.AddrPort
}

func (s Server) mesh() bool { return !s.Node.IsZero() }

func (s Server) String() string {
	if s.Name == "" {
		return s.Addr.String()
	}
	return s.Name + " (" + s.Addr.String() + ")"
}

const (
	// maxServers is how many a survey asks: two tell the mapping, more the step.
	maxServers = 4
	// enoughServers is the number of mesh nodes that make public servers needless.
	enoughServers = 2
)

// DefaultPublic are the public servers that are asked if the mesh has too few
// nodes of its own that the internet can reach.
func DefaultPublic() []string {
	return []string{"stun.cloudflare.com:3478", "stun.l.google.com:19302", "stun.nextcloud.com:3478"}
}

// choose picks the servers of one family that a survey asks: mesh nodes on
// different addresses in an order drawn by shuffle (so that all get their share
// of the work), then public ones if needed.
func choose(mesh, public []Server, v6 bool, shuffle func(n int, swap func(i, j int))) []Server {
	mesh = slices.Clone(mesh)
	shuffle(len(mesh), func(i, j int) { mesh[i], mesh[j] = mesh[j], mesh[i] })
	var chosen []Server
	add := func(s Server) {
		a := s.Addr.Addr().Unmap()
		if len(chosen) == maxServers || !s.Addr.IsValid() || s.Addr.Port() == 0 || a.Is6() != v6 || !usable(a) {
			return
		}
		s.Addr = netip.AddrPortFrom(a, s.Addr.Port())
		if !slices.ContainsFunc(chosen, func(o Server) bool { return o.Addr.Addr() == a }) {
			chosen = append(chosen, s)
		}
	}
	for _, s := range mesh {
		add(s)
	}
	if len(chosen) < enoughServers {
		for _, s := range public {
			add(s)
		}
	}
	return chosen
}
