package routes

import (
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// outcome is what the log last said of an announcement.
type outcome struct {
	name      string
	installed bool
	objection string
}

// announcement is one prefix of one node.
type announcement struct {
	prefix netip.Prefix
	node   message.NodeID
}

// report logs what became of announced networks since the last time, a line for
// each change. Overlay addresses make no lines unless they are refused: that a
// node is there is for gossip to say.
func (a *Actor) report() {
	now := make(map[announcement]outcome, len(a.told))
	for _, d := range a.decided {
		if d.Node == a.cfg.ID {
			continue
		}
		is := outcome{name: d.Name, installed: d.Best && d.Install}
		if why, no := a.refused[d.Prefix]; no && is.installed {
			is.installed, is.objection = false, why
		} else if !d.Usable {
			is.objection = d.Why
		}
		about := announcement{prefix: d.Prefix, node: d.Node}
		was := a.told[about]
		switch {
		case is.installed && !was.installed:
			a.cfg.Log.Info("route installed", "prefix", d.Prefix, "peer", d.Name, "reason", d.Why)
		case was.installed && !is.installed && is.objection == "":
			a.cfg.Log.Info("route moved away", "prefix", d.Prefix, "peer", d.Name, "reason", d.Why)
		}
		if is.objection != "" && is.objection != was.objection {
			a.cfg.Log.Warn("route not used", "prefix", d.Prefix, "peer", d.Name, "reason", is.objection)
		}
		if is.installed || is.objection != "" {
			now[about] = is
		}
	}
	for about, was := range a.told {
		if _, still := now[about]; !still && was.installed && !a.announced(about) {
			why := a.left[about.node]
			if why == "" {
				why = "not announced any more"
			}
			a.cfg.Log.Info("route removed", "prefix", about.prefix, "peer", was.name, "reason", why)
		}
	}
	a.told = now
	clear(a.left)
}

// announced says whether the announcement is among the present decisions.
func (a *Actor) announced(about announcement) bool {
	for _, d := range a.decided {
		if d.Prefix == about.prefix && d.Node == about.node {
			return true
		}
	}
	return false
}
