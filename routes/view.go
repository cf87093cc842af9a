package routes

import "net/netip"

// View is the picture behind `node routes --json`. It never changes.
type View struct {
	Routes   []Row    `json:"routes"`
	Problems []string `json:"problems"` // what a user should mend, each with its remedy
}

// Row is one prefix of one node.
type Row struct {
	Prefix    string `json:"prefix"`
	Node      string `json:"node"`      // name
	ID        string `json:"id"`        // of the node
	Installed bool   `json:"installed"` // packets to Prefix go to this node
	Metric    uint32 `json:"metric"`    // round trip in microseconds by which the best node is chosen; 0: not known
	Why       string `json:"why"`
}

// newView puts decisions and what the kernel made of them into words.
func newView(decided []Decision, refused map[netip.Prefix]string, problems []string) *View {
	v := &View{Routes: make([]Row, 0, len(decided)), Problems: append([]string{}, problems...)}
	for _, d := range decided {
		row := Row{Prefix: d.Prefix.String(), Node: d.Name, ID: d.Node.String(), Installed: d.Best, Metric: d.Cost, Why: d.Why}
		if why, no := refused[d.Prefix]; no && d.Best {
			row.Installed, row.Why = false, why
		}
		v.Routes = append(v.Routes, row)
	}
	return v
}
