package gossip

import (
	"bytes"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// memberLog takes the lines of memberlist's own log. What an operator wants to
// know of members is logged by [Gossip], so nearly all of it goes down to debug;
// one line is the only word that memberlist gives of a suspicion.
//
// It is called by many goroutines.
type memberLog struct {
	log     hclog.Logger
	suspect func(member string)
	quiet   atomic.Int64 // Unix seconds until which warnings are muted
}

const warnEvery = 60 // seconds

// Write takes one line: "[LEVEL] memberlist: text".
func (w *memberLog) Write(line []byte) (int, error) {
	n := len(line)
	level, text := hclog.Debug, string(bytes.TrimSpace(line))
	if strings.HasPrefix(text, "[") {
		if _, rest, ok := strings.Cut(text, "] "); ok {
			text = rest
		}
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	if member, ok := suspicion(text); ok && w.suspect != nil {
		w.suspect(member)
	}
	// Somebody inside the tunnel speaks with another key: worth a word, but
	// not one for each packet.
	if strings.HasPrefix(text, "Decrypt packet failed") {
		now := time.Now().Unix()
		if until := w.quiet.Load(); now >= until && w.quiet.CompareAndSwap(until, now+warnEvery) {
			level = hclog.Warn
		}
	}
	w.log.Log(level, "memberlist: "+text)
	return n, nil
}

// suspicion finds the member's name in "Suspect NAME has failed, no acks
// received" (memberlist, state.go). There is no exported way to learn of it: the
// State in Members() is never set.
func suspicion(text string) (member string, ok bool) {
	rest, ok := strings.CutPrefix(text, "Suspect ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, " has failed, no acks received")
}
