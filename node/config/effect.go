package config

// notYet is what this version takes, checks and does not act on. Whoever makes
// a feature work deletes its line.
var notYet = []struct {
	field  string
	always bool              // on by default, so worth a line even if nobody set it
	when   func(Config) bool // nil: whenever it was set
	what   string
}{
	{"config_push_interval", false, func(c Config) bool { return c.KeyRotation != 0 }, "rotation of the mesh key (config_push_interval)"},
	{"route_advert_interval", false, nil, "the interval of route adverts (route_advert_interval)"},
	{"broadcast_throttle_ms", false, nil, "slowing broadcasts down (broadcast_throttle_ms)"},
	{"enable_incremental_update", false, nil, "switching incremental updates (enable_incremental_update)"},
	{"max_peer_info_batch_size", false, nil, "the size of update batches (max_peer_info_batch_size)"},
	{"metrics", false, nil, "metrics (metrics)"},
}

// NotInEffect names what c asks for, or has by default, and does not get from
// this version of the program. `node status` shows it.
func NotInEffect(c Config) []string {
	var all []string
	for _, n := range notYet {
		if (n.always || c.IsSet(n.field)) && (n.when == nil || n.when(c)) {
			all = append(all, n.what)
		}
	}
	return all
}
