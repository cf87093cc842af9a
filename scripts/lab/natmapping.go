package lab

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// MiniUPnPd is the daemon that maps ports for the hosts behind a router; its
// Debian package has the same name.
const MiniUPnPd = "/usr/sbin/miniupnpd"

// MiniUPnPdConfig is the daemon's configuration for a router with these devices
// that maps ports for the hosts of a network inside. Its rules go into the chains
// upnp, upnp_pre and upnp_post of an inet table of nft.
func MiniUPnPdConfig(outside, inside, table, hosts string) string {
	return fmt.Sprintf(`ext_ifname=%s
listening_ip=%s
http_port=0
enable_upnp=yes
enable_natpmp=yes
secure_mode=yes
system_uptime=no
min_lifetime=120
max_lifetime=86400
uuid=79c6bdc6-df70-47b3-934b-e0ab002bb1b3
upnp_table_name=%[3]s
upnp_nat_table_name=%[3]s
upnp_forward_chain=upnp
upnp_nat_chain=upnp_pre
upnp_nat_postrouting_chain=upnp_post
allow 1024-65535 %[4]s 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`, outside, inside, table, hosts)
}

// mapsPorts starts the daemon of a router whose devices are there and returns
// when it answers.
func (r *NATRouter) mapsPorts(ctx context.Context) error {
	path := r.lab.file(r.Role + "-miniupnpd.conf")
	text := MiniUPnPdConfig("wan0", "lan0", "lab", r.inside.address4(0)+"/24")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	daemon, err := r.Start(Command{Path: MiniUPnPd, Args: []string{"-d", "-f", path, "-P", path + ".pid"}})
	if err != nil {
		return err
	}
	return Until(ctx, r.Role+" answers who wants a port mapped", func() error {
		select {
		case <-daemon.Done():
			return fmt.Errorf("miniupnpd has ended:\n%s", tail(daemon.Log()))
		default:
		}
		out, err := r.Run(ctx, "ss", "-Hlun", "sport = :5351")
		if err == nil && !strings.Contains(out, "5351") {
			err = fmt.Errorf("so far miniupnpd said:\n%s", tail(daemon.Log()))
		}
		return err
	})
}

// mappedPort is a rule of the daemon, as nft prints it.
var mappedPort = regexp.MustCompile(`dport (\d+) dnat ip to (\S+)`)

// MappedPorts are the ports that a router which maps them leads to its hosts now,
// and where to.
func (r *NATRouter) MappedPorts(ctx context.Context) (map[string]string, error) {
	out, err := r.Run(ctx, "nft", "list", "chain", "inet", "lab", "upnp_pre")
	ports := map[string]string{}
	for _, rule := range mappedPort.FindAllStringSubmatch(out, -1) {
		ports[rule[1]] = rule[2]
	}
	return ports, err
}
