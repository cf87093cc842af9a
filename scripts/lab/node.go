package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Node is a running lightweight-tunnel.
type Node struct {
	*Process
	StateDir string
	binary   string
	in       *Namespace
}

// NodeConfig says how to start a node.
type NodeConfig struct {
	Binary   string
	StateDir string   // default: a fresh one; give the old one to start a node again
	Args     []string // of `node run`, without --state-dir
	Bare     bool     // Args are a whole command line of the bare form (-m server ...)
	Env      []string
	Name     string
}

// StartNode starts a node in the namespace and returns at once.
func (n *Namespace) StartNode(c NodeConfig) (*Node, error) {
	if c.StateDir == "" {
		c.StateDir = n.lab.file(n.Role + "-state")
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, err
	}
	args := append([]string{"node", "run", "--state-dir", c.StateDir}, c.Args...)
	if c.Bare {
		args = append(c.Args[:len(c.Args):len(c.Args)], "--state-dir", c.StateDir)
	}
	if c.Name == "" {
		c.Name = "node"
	}
	process, err := n.Start(Command{Path: c.Binary, Args: args, Env: c.Env, Name: c.Name})
	if err != nil {
		return nil, err
	}
	return &Node{Process: process, StateDir: c.StateDir, binary: c.Binary, in: n}, nil
}

// Ask runs a command about this node, such as "peers", and returns what it printed.
func (n *Node) Ask(ctx context.Context, command string, args ...string) (string, error) {
	return n.in.Run(ctx, n.binary, append([]string{"node", command, "--state-dir", n.StateDir}, args...)...)
}

// Peers is what `node peers --json` prints, as far as the lab reads it.
type Peers struct {
	Self struct {
		ID, Name, Interface, NAT string
		Addresses                []string
	}
	Peers []Peer
}

// Peer is one row of Peers.
type Peer struct {
	ID, Name, State, NAT string
	Addresses            []string
	Routes               []string
	Link                 struct {
		State, Path, Via, Endpoint string
		RTT                        float64 `json:"rtt_ms"`
		MTU                        int
		Loss                       float64 `json:"loss_pct"`
		Residual                   float64 `json:"residual_loss_pct"`
		FECData                    int     `json:"fec_data"`
		FECParity                  int     `json:"fec_parity"`
		RecvQueuePeak              int     `json:"recv_queue_peak"` // packets
		WhyNotDirect               string  `json:"why_not_direct"`
		HandshakeAge               float64 `json:"handshake_age_s"` // of the keys in use
	}
}

// Peers asks the node for its peers. A mesh with an unhealthy peer is an answer, too.
func (n *Node) Peers(ctx context.Context) (Peers, error) {
	var peers Peers
	return peers, n.ask(ctx, &peers, "peers")
}

// Keys says since when the node's keys with a peer of this name are in use: two
// readings of the same keys differ by the time that an answer takes.
func (n *Node) Keys(ctx context.Context, peer string) (since time.Time, err error) {
	peers, err := n.Peers(ctx)
	if err != nil {
		return since, err
	}
	for _, p := range peers.Peers {
		if p.Name == peer && p.Link.State == "up" {
			return time.Now().Add(-time.Duration(p.Link.HandshakeAge * float64(time.Second))), nil
		}
	}
	return since, fmt.Errorf("%s has no link to %s: its peers are %+v", n.name, peer, peers.Peers)
}

// Status is what `node status --json` prints.
type Status struct {
	Healthy  bool
	Problems []string
	Actors   []Actor
	Drops    map[string]uint64
}

// Actor is one actor of a node's tree.
type Actor struct {
	Name, State string
	Restarts    int
	LastError   string `json:"last_error"`
	Children    []Actor
}

// Walk visits every actor of the tree, parents first, with the path of names
// that leads to it.
func (s Status) Walk(visit func(path string, a Actor)) {
	var below func(prefix string, actors []Actor)
	below = func(prefix string, actors []Actor) {
		for _, a := range actors {
			visit(prefix+a.Name, a)
			below(prefix+a.Name+"/", a.Children)
		}
	}
	below("", s.Actors)
}

// Status asks the node for its actor tree.
func (n *Node) Status(ctx context.Context) (Status, error) {
	var status Status
	return status, n.ask(ctx, &status, "status")
}

// Routes is what `node routes --json` prints.
type Routes struct {
	Routes []Route
}

// Route is one prefix that one node announces.
type Route struct {
	Prefix, Node, Why string
	Installed         bool
}

// Routes asks the node who announces what.
func (n *Node) Routes(ctx context.Context) (Routes, error) {
	var routes Routes
	return routes, n.ask(ctx, &routes, "routes")
}

func (n *Node) ask(ctx context.Context, into any, command string) error {
	// One question must not use up the time of a whole wait.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := n.in.Shell(ctx, fmt.Sprintf("%s node %s --json --state-dir %s 2>&1 || [ $? -eq 3 ]", n.binary, command, n.StateDir))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("node %s --json printed what is not that: %w: %s", command, err, tail(out))
	}
	return nil
}

// Up waits until the node lists a peer of this name as alive, with a link that is up.
func (n *Node) Up(ctx context.Context, peer string) error {
	return Until(ctx, n.name+" has a link to "+peer, func() error {
		peers, err := n.Peers(ctx)
		if err != nil {
			return fmt.Errorf("%w; its log:\n%s", err, tail(n.Log()))
		}
		for _, p := range peers.Peers {
			if p.Name == peer && p.State == "alive" && p.Link.State == "up" {
				return nil
			}
		}
		return fmt.Errorf("its peers are %+v; its log:\n%s", peers.Peers, tail(n.Log()))
	})
}
