package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/node"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/sdnotify"
)

// gcPercent keeps the heap near what is in use: packets allocate nothing, so
// collections are rare and cheap, and small machines have better uses for memory.
const gcPercent = 25

// startNode runs a node until ctx ends, and tells systemd how it is doing.
func startNode(ctx context.Context, cfg config.Config, log hclog.Logger) error {
	debug.SetGCPercent(gcPercent)
	systemd := sdnotify.FromEnv(os.Getenv)
	watched, end := context.WithCancel(ctx)
	defer end()
	return node.Run(ctx, cfg, log, func(n *node.Node) {
		systemd.Ready("node " + cfg.Name + " runs")
		go systemd.Watch(watched, n.Responsive)
	})
}
