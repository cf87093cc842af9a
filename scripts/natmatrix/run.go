package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// joinWithin is how long two sites may take to see each other at all.
const joinWithin = 20 * time.Second

// site is one of the two, with its node.
type site struct {
	name, overlay string
	host          *lab.Host
	router        *lab.NATRouter // the innermost
	node          *lab.Node
}

// run lays the pair out, starts four nodes, sends traffic, and waits until both
// sites show a direct path, or until it has taken too long.
func (p pair) run(ctx context.Context, o options) (r result, err error) {
	r = result{A: p.a.name, B: p.b.name, Transport: o.transport, Path: "-", Outlook: p.outlook(o.transport)}
	l, err := lab.New()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 2*joinWithin+o.wait)
	defer cancel()
	seeds, sites, err := p.layOut(ctx, l)
	if err != nil {
		return r, err
	}
	if err := p.start(ctx, l, o, seeds, sites); err != nil {
		return r, err
	}
	joining, stop := context.WithTimeout(ctx, joinWithin)
	defer stop()
	for i, s := range sites {
		if err := s.node.Up(joining, sites[1-i].name); err != nil {
			return r, err
		}
	}
	if _, err := sites[0].host.Start(lab.Command{Path: "ping", Args: []string{"-n", "-q", "-i", "0.2", sites[1].overlay}}); err != nil {
		return r, err
	}
	began := time.Now()
	direct, stop := context.WithTimeout(ctx, o.wait)
	defer stop()
	err = lab.Until(direct, "both sites have a direct path", func() error { return r.look(direct, sites) })
	r.Seconds = time.Since(began).Seconds()
	for i, s := range sites {
		t, err := s.router.Traffic(ctx)
		if err != nil {
			return r, err
		}
		if p.shared && i == 1 && s.router == sites[0].router {
			break
		}
		r.Packets += t.UDPOut + t.TCPOut
	}
	r.Direct = err == nil
	if r.missed() && o.logs {
		for _, s := range sites {
			fmt.Fprintf(os.Stderr, "--- what %s said:\n%s", s.name, s.node.Log())
		}
	}
	return r, ctx.Err()
}

// layOut builds the internet, two public hosts and the two sites.
func (p pair) layOut(ctx context.Context, l *lab.Lab) (seeds []*lab.Host, sites [2]*site, err error) {
	net, err := l.NewInternet(ctx, lab.InternetConfig{})
	if err != nil {
		return nil, sites, err
	}
	for _, role := range []string{"seed", "second"} {
		h, err := net.Host(ctx, role)
		if err != nil {
			return nil, sites, err
		}
		seeds = append(seeds, h)
	}
	var shared *lab.NATRouter
	for i, k := range []kind{p.a, p.b} {
		s := &site{name: fmt.Sprintf("site%d", i+1), overlay: fmt.Sprintf("10.0.0.%d", 11+i)}
		for j, config := range k.routers {
			role := fmt.Sprintf("router%d%d", i+1, j+1)
			switch {
			case j > 0:
				s.router, err = s.router.Router(ctx, role, config)
			case p.shared && i == 1:
				s.router = shared
			default:
				s.router, err = net.Router(ctx, role, config)
				shared = s.router
			}
			if err != nil {
				return nil, sites, err
			}
		}
		if s.host, err = s.router.Host(ctx, s.name); err != nil {
			return nil, sites, err
		}
		sites[i] = s
	}
	return seeds, sites, nil
}

// start starts the nodes: the seeds, of which the second joins through the first,
// and the sites, which join through both.
func (p pair) start(ctx context.Context, l *lab.Lab, o options, seeds []*lab.Host, sites [2]*site) error {
	const port = ":9000"
	keyFile := filepath.Join(l.Dir(), "key")
	if _, err := seeds[0].Shell(ctx, fmt.Sprintf("umask 077; %s genkey >%s", o.binary, keyFile)); err != nil {
		return err
	}
	for i, seed := range seeds {
		args := []string{"--name", seed.Role, "--key-file", keyFile, "--address", fmt.Sprintf("10.0.0.%d/24", i+1), "--listen", port}
		if i > 0 {
			args = append(args, "--seed", seeds[0].IPv4+port)
		}
		if _, err := seed.StartNode(lab.NodeConfig{Binary: o.binary, Args: args}); err != nil {
			return err
		}
	}
	for _, s := range sites {
		args := []string{"--name", s.name, "--key-file", keyFile, "--address", s.overlay + "/24", "--transport", o.transport}
		for _, seed := range seeds {
			address := seed.IPv4
			if s.host.IPv4 == "" {
				address = "[" + seed.IPv6 + "]"
			}
			args = append(args, "--seed", address+port)
		}
		var err error
		if s.node, err = s.host.StartNode(lab.NodeConfig{Binary: o.binary, Args: args}); err != nil {
			return err
		}
	}
	return nil
}

// look notes which path each site shows for the other; nil once both are direct.
func (r *result) look(ctx context.Context, sites [2]*site) error {
	var paths [2]string
	for i, s := range sites {
		peers, err := s.node.Peers(ctx)
		if err != nil {
			return err
		}
		for _, peer := range peers.Peers {
			if peer.Name == sites[1-i].name {
				paths[i] = peer.Link.Path
			}
		}
	}
	r.Path = paths[0]
	if paths[0] != paths[1] {
		r.Path = paths[0] + "/" + paths[1]
	}
	for i, path := range paths {
		if path != "udp" && path != "rawtcp" {
			return fmt.Errorf("%s shows %q", sites[i].name, path)
		}
	}
	return nil
}
