package main

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/node"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/sdnotify"
)

// startNode runs a node until ctx ends, and tells systemd how it is doing.
func startNode(ctx context.Context, cfg config.Config, log hclog.Logger) error {
	systemd := sdnotify.FromEnv(os.Getenv)
	watched, end := context.WithCancel(ctx)
	defer end()
	return node.Run(ctx, cfg, log, func(n *node.Node) {
		systemd.Ready("node " + cfg.Name + " runs")
		go systemd.Watch(watched, n.Responsive)
	})
}
