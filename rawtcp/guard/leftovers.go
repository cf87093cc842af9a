package guard

// removeLeftovers removes what guards left behind whose process is gone. What
// cannot be removed is reported and does not hinder.
func (g *Guard) removeLeftovers() {
	for _, l := range []struct {
		what   string
		remove func() error
	}{
		{"tc filters", func() error { return removeDeadFilters(g.handle, g.owner.dead) }},
		{"nft tables", func() error { return removeDeadTables(g.owner.dead) }},
		{"iptables chains", func() error { return removeDeadChains(g.owner.dead) }},
	} {
		if err := l.remove(); err != nil {
			g.log.Warn("cannot remove what a former process left behind", "what", l.what, "reason", err)
		}
	}
}
