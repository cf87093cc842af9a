package config

import "time"

// Headings of the help.
const (
	sectionMesh   = "Mesh"
	sectionKey    = "Key"
	sectionDevice = "Device and routes"
	sectionPath   = "Paths"
	sectionLoss   = "Loss and queues"
	sectionServer = "Server"
	sectionHost   = "This host"
	sectionTiming = "Timing"
)

var fields = []Field{
	{Name: "mode", Flags: []string{"mode", "m"}, Section: sectionMesh, Value: "server|client",
		Usage: "server: the first seed, listens; client: joins through a seed. Without it: server if there is no seed", set: setMode},
	{Name: "listen", Flags: []string{"listen", "l"}, Kind: List, Section: sectionMesh, Value: "ADDR:PORT",
		Usage: "accept other nodes here; [::]:PORT for IPv6, :PORT for both", set: setListen},
	{Name: "local_addr", alias: true, same: "listen", set: setListen},
	{Name: "seeds", Flags: []string{"seed", "r"}, Kind: List, Section: sectionMesh, Value: "HOST:PORT",
		Usage: "join the mesh through this node; may be repeated", set: setSeeds},
	{Name: "remote_addr", alias: true, same: "seeds", set: setSeeds},
	{Name: "addresses", Flags: []string{"address", "t"}, Kind: List, Section: sectionMesh, Value: "CIDR",
		Usage: "this node's address inside the mesh, IPv4, IPv6 or one of each", set: setAddresses},
	{Name: "tunnel_addr", alias: true, same: "addresses", set: setAddresses},
	{Name: "name", Flags: []string{"name"}, Section: sectionMesh, Value: "NAME", Default: "host name",
		Usage: "what others call this node", set: setName},

	{Name: "key", Flags: []string{"key", "k"}, Section: sectionKey, Value: "KEY",
		Usage: "mesh key; other users of this machine can see it here, prefer --key-file", set: setKey},
	{Name: "key_file", Flags: []string{"key-file"}, Section: sectionKey, Value: "FILE",
		Usage: "file with the mesh key; make one with: lightweight-tunnel genkey", set: setKeyFile},
	{Name: "config_push_interval", Flags: []string{"config-push-interval"}, Kind: Number, Section: sectionKey, Value: "SECONDS", Default: "0, never",
		Usage: "rotate the mesh key this often", serverOnly: true,
		set: seconds(0, 365*24*time.Hour, func(c *Config) *time.Duration { return &c.KeyRotation })},

	{Name: "interface", Flags: []string{"interface", "tun-name"}, Section: sectionDevice, Value: "NAME", Default: "tun0, or the next free one",
		Usage: "name of the TUN device", set: setInterface},
	{Name: "tun_name", alias: true, same: "interface", set: setInterface},
	{Name: "mtu", Flags: []string{"mtu"}, Kind: Number, Section: sectionDevice, Value: "BYTES", Default: "1400",
		Usage: "largest packet inside the tunnel; 0 discovers it", set: setMTU},
	{Name: "routes", Flags: []string{"routes"}, Kind: List, Section: sectionDevice, Value: "CIDR,...",
		Usage: "networks behind this node that others may reach", set: setRoutes},
	{Name: "accept_routes", Flags: []string{"accept-routes"}, Kind: List, Section: sectionDevice, Value: "all|none|CIDR,...", Default: "all",
		Usage: "networks behind others to install here; a default route only if it is named", set: setAcceptRoutes},
	{Name: "enable_kernel_tune", Flags: []string{"kernel-tune"}, Kind: Switch, Section: sectionDevice, Default: "true",
		Usage: "let this node adjust the kernel (forwarding and buffers) while it runs",
		set:   toggle(func(c *Config) *bool { return &c.KernelTune })},

	{Name: "transport", Flags: []string{"transport"}, Section: sectionPath, Value: "auto|rawtcp|udp", Default: "auto",
		Usage: "how datagrams travel between nodes",
		set:   choice(func(c *Config) *string { return &c.Transport }, "auto", "rawtcp", "udp")},
	{Name: "enable_xdp", Flags: []string{"xdp"}, Kind: Switch, Section: sectionPath, Default: "true",
		Usage: "let an eBPF program keep the kernel's TCP away from ours", set: toggle(func(c *Config) *bool { return &c.XDP })},
	{Name: "p2p_enabled", Flags: []string{"p2p"}, Kind: Switch, Section: sectionPath, Default: "true",
		Usage: "look for direct paths between sites", set: toggle(func(c *Config) *bool { return &c.P2P })},
	{Name: "p2p_port", Flags: []string{"p2p-port"}, Kind: Number, Section: sectionPath, Value: "PORT", Default: "0, that of --listen or any",
		Usage: "local port of direct paths", set: number(0, 65535, func(c *Config) *int { return &c.P2PPort })},
	{Name: "p2p_timeout", Kind: Number, set: seconds(1, 300*time.Second, func(c *Config) *time.Duration { return &c.P2PTimeout })},
	{Name: "p2p_keepalive_interval", Kind: Number, set: seconds(1, time.Hour, func(c *Config) *time.Duration { return &c.P2PKeepalive })},
	{Name: "enable_mesh_routing", Flags: []string{"mesh-routing"}, Kind: Switch, Section: sectionPath, Default: "true",
		Usage: "reach others through any node that relays", set: toggle(func(c *Config) *bool { return &c.MeshRouting })},
	{Name: "max_hops", Flags: []string{"max-hops"}, Kind: Number, Section: sectionPath, Value: "N", Default: "3",
		Usage: "most relays on one path", set: number(1, 16, func(c *Config) *int { return &c.MaxHops })},
	{Name: "enable_nat_detection", Flags: []string{"nat-detection"}, Kind: Switch, Section: sectionPath, Default: "true",
		Usage: "find out what kind of NAT this node is behind", set: toggle(func(c *Config) *bool { return &c.NATDetection })},
	{Name: "stun", Flags: []string{"stun"}, Kind: List, Section: sectionPath, Value: "HOST:PORT,...|none", Default: "the mesh's own nodes, then public ones",
		Usage: "servers to ask for this node's outer address", set: setSTUN},
	{Name: "port_map", Flags: []string{"port-map"}, Kind: Switch, Section: sectionPath, Default: "true",
		Usage: "ask the router for a port (UPnP-IGD, NAT-PMP, PCP)", set: toggle(func(c *Config) *bool { return &c.PortMap })},

	{Name: "fec", Flags: []string{"fec"}, Section: sectionLoss, Value: "auto|off|D+P", Default: "auto",
		Usage: "forward error correction: chosen per link, none, or P repair packets for D packets", set: setFEC},
	{Name: "fec_data", Flags: []string{"fec-data"}, Kind: Number, Section: sectionLoss, Value: "D", Default: "10",
		Usage: "packets in a group; given, it fixes the rate", set: number(1, maxFECData, func(c *Config) *int { return &c.FEC.Data })},
	{Name: "fec_parity", Flags: []string{"fec-parity"}, Kind: Number, Section: sectionLoss, Value: "P", Default: "3",
		Usage: "repair packets per group; given, it fixes the rate", set: number(1, maxFECParity, func(c *Config) *int { return &c.FEC.Parity })},
	{Name: "send_queue_size", Flags: []string{"send-queue"}, Kind: Number, Section: sectionLoss, Value: "PACKETS", Default: "5000",
		Usage: "packets that may wait to be sent", set: number(16, 1_000_000, func(c *Config) *int { return &c.SendQueue })},
	{Name: "recv_queue_size", Flags: []string{"recv-queue"}, Kind: Number, Section: sectionLoss, Value: "PACKETS", Default: "5000",
		Usage: "packets that may wait to be received", set: number(16, 1_000_000, func(c *Config) *int { return &c.RecvQueue })},

	{Name: "multi_client", Flags: []string{"multi-client"}, Kind: Switch, Section: sectionServer, Default: "true",
		Usage: "take more than one client", serverOnly: true, set: toggle(func(c *Config) *bool { return &c.MultiClient })},
	{Name: "max_clients", Flags: []string{"max-clients"}, Kind: Number, Section: sectionServer, Value: "N", Default: "100",
		Usage: "most nodes that may join here", serverOnly: true, set: number(1, 65535, func(c *Config) *int { return &c.MaxClients })},
	{Name: "client_isolation", Flags: []string{"client-isolation"}, Kind: Switch, Section: sectionServer, Default: "false",
		Usage: "clients reach the server but not each other", serverOnly: true, set: toggle(func(c *Config) *bool { return &c.Isolation })},

	{Name: "state_dir", Flags: []string{"state-dir"}, Section: sectionHost, Value: "DIR", Default: StateRoot + "/INTERFACE",
		Usage: "keep identity and control socket here, so that several nodes fit on one machine", set: setStateDir},
	{Name: "memory", Flags: []string{"memory"}, Kind: Size, Section: sectionHost, Value: "40M", Default: "0, no ceiling",
		Usage: "ceiling for buffers and queues", set: setMemory},
	{Name: "metrics", Flags: []string{"metrics"}, Section: sectionHost, Value: "ADDR:PORT", Default: "off",
		Usage: "serve Prometheus metrics here", set: setMetrics},
	{Name: "log_level", Flags: []string{"log-level"}, Section: sectionHost, Value: "trace|debug|info|warn|error|off", Default: "info",
		Usage: "least severe line to log",
		set:   choice(func(c *Config) *string { return &c.LogLevel }, "trace", "debug", "info", "warn", "error", "off")},
	{Name: "log_format", Flags: []string{"log-format"}, Section: sectionHost, Value: "auto|journal|text|json", Default: "auto",
		Usage: "auto: the journal under systemd, else text on stderr",
		set:   choice(func(c *Config) *string { return &c.LogFormat }, "auto", "journal", "text", "json")},

	{Name: "route_update_interval", Flags: []string{"route-update"}, Kind: Number, Section: sectionTiming, Value: "SECONDS", Default: "30",
		Usage: "look at the quality of routes this often", set: seconds(1, time.Hour, func(c *Config) *time.Duration { return &c.RouteUpdate })},
	{Name: "route_advert_interval", Kind: Number, set: seconds(1, 24*time.Hour, func(c *Config) *time.Duration { return &c.RouteAdvert })},
	{Name: "keepalive", Kind: Number, set: seconds(1, time.Hour, func(c *Config) *time.Duration { return &c.Keepalive })},
	{Name: "timeout", Kind: Number, set: seconds(2, 24*time.Hour, func(c *Config) *time.Duration { return &c.Timeout })},
	{Name: "broadcast_throttle_ms", Kind: Number, set: milliseconds(0, 60_000, func(c *Config) *time.Duration { return &c.Broadcast })},
	{Name: "enable_incremental_update", Kind: Switch, set: toggle(func(c *Config) *bool { return &c.Incremental })},
	{Name: "max_peer_info_batch_size", Kind: Number, set: number(1, 1000, func(c *Config) *int { return &c.PeerInfoBatch })},
}
