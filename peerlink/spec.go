package peerlink

import (
	"context"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
)

// PingResult is the outcome of one [Directory.Ping].
type PingResult struct {
	RTT      time.Duration
	Path     string // rawtcp, udp or relay
	Endpoint string // ADDR:PORT of the path
	Via      string // the relay's name
	Err      error  // no answer, or no such peer; then the rest is empty
}

func checkStatic(id message.NodeID, private [32]byte) error { return noise.CheckStatic(id, private) }

var _ = context.Background
var _ actors.Spec
