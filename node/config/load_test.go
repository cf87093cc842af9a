package config

import (
	"github.com/openbmx/lightweight-tunnel/routes"

	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// load runs Load in surroundings that say nothing of themselves.
func load(t *testing.T, file string, env map[string]string, flags ...string) (Config, []string, error) {
	t.Helper()
	in := Input{
		Getenv:   func(k string) string { return env[k] },
		Hostname: func() (string, error) { return "host.example.org", nil },
	}
	if file != "" {
		in.File = filepath.Join(t.TempDir(), "f.json")
		if err := os.WriteFile(in.File, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		found := false
		for _, field := range Fields() {
			if slices.Contains(field.Flags, name) {
				in.Flags = append(in.Flags, Given{Field: field.Name, Flag: name, Values: []string{value}})
				found = true
			}
		}
		if !found {
			t.Fatalf("no flag %s", name)
		}
	}
	cfg, warnings, err := Load(in)
	if err != nil && in.File != "" {
		err = errors.New(strings.ReplaceAll(err.Error(), in.File, "f.json"))
	}
	return cfg, warnings, err
}

const goodKey = "key=correct horse battery staple"

func TestProblemsNameFileLineFieldAndAllowedValues(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"all at once": {
			"{\n  \"mode\": \"server\",\n  \"mtu\": 100,\n  \"tunel_addr\": \"10.0.0.1/24\",\n  \"max_clients\": \"many\",\n\n  \"p2p_enabled\": 1,\n  \"key\": \"0123456789abcdef\"\n}",
			[]string{
				`f.json:4: unknown field "tunel_addr": did you mean tunnel_addr?`,
				`f.json:5: max_clients: is a string, want a whole number`,
				`f.json:7: p2p_enabled: is a number, want true or false`,
				`f.json:3: mtu: "100": want 0 (discover) or a whole number from 500 to 9000`,
				`f.json: listen: mode server needs an address to listen on, such as 0.0.0.0:9000`,
				`f.json: addresses: this node has no address inside the mesh; give one, such as 10.0.0.2/24`,
			},
		},
		"syntax":            {"{\n \"mtu\": 1400,\n}", []string{"f.json:3: not valid JSON: invalid character '}' looking for beginning of object key string"}},
		"cut short":         {"{\n \"mtu\": 14", []string{"f.json:2: not valid JSON: unexpected end of JSON input"}},
		"behind the object": {"{}\n{}", []string{"f.json:2: not valid JSON: invalid character '{' after top-level value"}},
		"not an object":     {"[]", []string{`f.json:1: want one JSON object`}},
		"twice":             {base("\"mtu\": 1400,\n\"mtu\": 1500"), []string{"f.json:3: mtu: given twice, first at f.json:2; keep one"}},
		"two names":         {base("\"interface\": \"a\",\n\"tun_name\": \"b\""), []string{"f.json:3: tun_name: given twice, first at f.json:2; keep one"}},
		"fraction":          {base(`"mtu": 1400.5`), []string{"f.json:2: mtu: is 1400.5, want a whole number"}},
		"exponent":          {base(`"mtu": 1e3`), []string{"f.json:2: mtu: is 1e3, want a whole number"}},
		"null":              {base(`"mtu": null`), []string{"f.json:2: mtu: is null, want a whole number"}},
		"list of numbers":   {base(`"routes": [1]`), []string{"f.json:2: routes: is an array with something else than strings, want an array of strings"}},
		"list with null":    {base(`"routes": [null]`), []string{"f.json:2: routes: is an array with something else than strings, want an array of strings"}},
		"alias is named":    {`{"mode":"server","local_addr":"here","tunnel_addr":"10.0.0.1/24","key":"0123456789abcdef"}`, []string{`f.json:1: local_addr: "here": want ADDR:PORT`}},
		"choice":            {base(`"log_level": "loud"`), []string{`f.json:2: log_level: "loud": want one of trace, debug, info, warn, error, off`}},
		"host bits":         {base(`"routes": ["192.168.5.1/24"]`), []string{`f.json:2: routes: "192.168.5.1/24": bits are set behind the prefix length; want the network 192.168.5.0/24`}},
		"memory":            {base(`"memory": "1M"`), []string{`f.json:2: memory: "1M": want 0 (no ceiling) or at least 8M, with K, M or G, such as 40M`}},
		"timeout":           {base(`"timeout": 5`), []string{`f.json:2: timeout: a link would be given up (timeout 5 s) before it had to show a sign of life (keepalive 5 s)`}},
		"fec twice":         {base("\"fec\": \"off\",\n\"fec_data\": 5"), []string{`f.json:3: fec_data: contradicts fec off; give the rate once`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, tt.file, nil)
			if err == nil {
				t.Fatal("the file was taken")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("got %d problems, want %d:\n%s", len(got), len(tt.want), err)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("problem %d:\n got %s\nwant %s", i, got[i], tt.want[i])
				}
			}
		})
	}
}

// base is a good file with more fields from its second line on.
func base(more string) string {
	return "{\n" + more + ",\n\"mode\": \"server\", \"local_addr\": \"0.0.0.0:9000\", \"tunnel_addr\": \"10.0.0.1/24\", \"key\": \"0123456789abcdef\"}"
}

func TestFlagsContradictingEachOtherOrTheModeAreRefused(t *testing.T) {
	server := []string{goodKey, "mode=server", "listen=0.0.0.0:9000", "address=10.0.0.1/24"}
	client := []string{goodKey, "mode=client", "seed=203.0.113.9:9000", "address=10.0.0.2/24"}
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"server with seed":       {append(server, "seed=a:1"), "flag --seed: contradicts mode server"},
		"client with clients":    {append(client, "max-clients=100"), "flag --max-clients: contradicts mode client"},
		"client with isolation":  {append(client, "client-isolation=true"), "flag --client-isolation: contradicts mode client"},
		"client without seed":    {[]string{goodKey, "mode=client", "address=10.0.0.2/24"}, "command line: --seed: mode client needs a seed"},
		"server without listen":  {[]string{goodKey, "mode=server", "address=10.0.0.2/24"}, "command line: --listen: mode server needs"},
		"neither":                {[]string{goodKey, "address=10.0.0.2/24"}, "command line: --seed: this node neither joins nor listens"},
		"no address":             {[]string{goodKey, "seed=a:1"}, "command line: --address: this node has no address"},
		"no key":                 {client[1:], "mesh key: there is none"},
		"two keys":               {append(client, "key-file=/x"), "flag --key-file: there is a key at flag --key already"},
		"network as address":     {[]string{goodKey, "seed=a:1", "address=10.0.0.0/24"}, `flag --address: "10.0.0.0/24": this is the network itself; give this node an address in it, such as 10.0.0.1/24`},
		"broadcast as address":   {[]string{goodKey, "seed=a:1", "address=10.0.0.255/24"}, `flag --address: "10.0.0.255/24": this is the broadcast address`},
		"address without length": {[]string{goodKey, "seed=a:1", "address=10.0.0.1"}, `flag --address: "10.0.0.1": want an address with its prefix length`},
		"seed inside the mesh":   {[]string{goodKey, "seed=10.0.0.1:9000", "address=10.0.0.2/24"}, "flag --seed: 10.0.0.1:9000 lies inside the mesh's own network 10.0.0.0/24"},
		"seed port 0":            {[]string{goodKey, "seed=a:0", "address=10.0.0.2/24"}, `flag --seed: "a:0": want HOST:PORT`},
		"placeholder seed":       {[]string{goodKey, "seed=SERVER_ADDRESS:9000", "address=10.0.0.2/24"}, `flag --seed: "SERVER_ADDRESS:9000": put the name or address of your server`},
		"placeholder key":        {[]string{"key=CHANGE-ME-please", "seed=a:1", "address=10.0.0.2/24"}, "mesh key: it is still the template's placeholder"},
		"small MTU with IPv6":    {[]string{goodKey, "seed=a:1", "address=fd00::2/64", "mtu=1200"}, "flag --mtu: 1200 is too small for IPv6"},
		"interface too long":     {append(client, "interface=abcdefghijklmnop"), `flag --interface: "abcdefghijklmnop": want 1 to 15`},
		"empty flag":             {append(client, "name="), "flag --name: is empty"},
		"name with a space":      {append(client, "name=a b"), "flag --name: name \"a b\": character 2"},
		"fec":                    {append(client, "fec=20+0"), `flag --fec: "20+0": want auto, off, or D+P`},
		"fec twice":              {append(client, "fec=20+4", "fec-data=10"), "flag --fec-data: contradicts fec 20+4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, "", nil, tt.flags...)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v\nwant one problem: %s", err, tt.want)
			}
		})
	}
}

func TestEveryFieldOfTheFileReachesTheConfig(t *testing.T) {
	cfg, warnings, err := load(t, `{
		"mode": "server", "local_addr": ":9000", "tunnel_addr": "10.0.0.1/24,fd00::1/64", "key": "0123456789abcdef",
		"mtu": 0, "fec_data": 20, "fec_parity": 4, "send_queue_size": 600, "recv_queue_size": 700, "max_clients": 7,
		"multi_client": false, "client_isolation": true, "p2p_enabled": false, "enable_mesh_routing": false,
		"enable_nat_detection": false, "enable_xdp": false, "enable_kernel_tune": false, "keepalive": 7, "timeout": 21,
		"broadcast_throttle_ms": 250, "enable_incremental_update": false, "max_peer_info_batch_size": 4,
		"route_advert_interval": 60, "p2p_keepalive_interval": 9, "routes": ["192.168.5.0/24"], "config_push_interval": 3600,
		"tun_name": "mesh0", "p2p_port": 4000, "p2p_timeout": 8, "max_hops": 2, "route_update_interval": 11,
		"transport": "rawtcp", "name": "fra", "stun": ["none"], "port_map": false, "accept_routes": ["192.168.0.0/16"],
		"metrics": "127.0.0.1:9100", "log_level": "debug", "log_format": "json", "memory": "40M", "state_dir": "/s", "remote_addr": ""
	}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %q", warnings)
	}
	want := Config{
		Mode:      Server,
		Listen:    []netip.AddrPort{netip.MustParseAddrPort("[::]:9000"), netip.MustParseAddrPort("0.0.0.0:9000")},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
		Name:      "fra", Key: NewSecret("0123456789abcdef"), Interface: "mesh0", InterfaceAsked: true, StateDir: "/s",
		FEC: FEC{FECFixed, 20, 4}, SendQueue: 600, RecvQueue: 700, MaxClients: 7, Isolation: true,
		Routes:       []netip.Prefix{netip.MustParsePrefix("192.168.5.0/24")},
		AcceptRoutes: acceptOnly(t, "192.168.0.0/16"),
		Transport:    "rawtcp", P2PPort: 4000, P2PTimeout: 8 * time.Second, P2PKeepalive: 9 * time.Second, MaxHops: 2,
		STUNOff: true, Keepalive: 7 * time.Second, Timeout: 21 * time.Second, KeyRotation: time.Hour,
		RouteUpdate: 11 * time.Second, RouteAdvert: time.Minute, Broadcast: 250 * time.Millisecond, PeerInfoBatch: 4,
		Metrics: "127.0.0.1:9100", LogLevel: "debug", LogFormat: "json", Memory: 40 << 20,
	}
	if diff := difference(want, cfg); diff != "" {
		t.Error(diff)
	}
	for _, f := range Fields() {
		if !f.alias && f.Name != "seeds" && f.Name != "fec" && f.Name != "key_file" && !cfg.IsSet(f.Name) {
			t.Errorf("the test leaves %s out", f.Name)
		}
	}
}

func TestFlagsOverrideTheFile(t *testing.T) {
	file := `{"seeds": ["a.example:9000", "b.example:9001"], "addresses": "10.0.0.2/24", "key": "0123456789abcdef", "mtu": 1300, "fec": "20+4"}`
	cfg, _, err := load(t, file, nil, "mtu=1200", "fec=off", "log-level=warn")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MTU != 1200 || cfg.FEC.Mode != FECOff || cfg.LogLevel != "warn" {
		t.Errorf("mtu %d, fec %v, level %s", cfg.MTU, cfg.FEC, cfg.LogLevel)
	}
	if cfg.Mode != Client || len(cfg.Seeds) != 2 || cfg.Name != "host" {
		t.Errorf("mode %s, seeds %q, name %s", cfg.Mode, cfg.Seeds, cfg.Name)
	}
	if cfg, _, err = load(t, file, nil, "fec-data=9", "fec-parity=2"); err != nil || cfg.FEC != (FEC{FECFixed, 9, 2}) {
		t.Errorf("fec %v, error %v", cfg.FEC, err)
	}
}

func TestPredecessorsCommandLineKeepsItsDefaults(t *testing.T) {
	for mode, want := range map[string]string{"server": "10.0.0.1/24", "client": "10.0.0.2/24"} {
		in := Input{Bare: true, Getenv: func(string) string { return "" }, Flags: []Given{
			{Field: "mode", Flag: "m", Values: []string{mode}}, {Field: "key", Flag: "k", Values: []string{"a long enough key"}},
		}}
		if mode == "client" {
			in.Flags = append(in.Flags, Given{Field: "seeds", Flag: "r", Values: []string{"a:9000"}})
		}
		cfg, warnings, err := Load(in)
		if err != nil || cfg.Addresses[0].String() != want || len(cfg.Listen) != map[string]int{"server": 1}[mode] {
			t.Errorf("%s: addresses %v, listen %v, error %v", mode, cfg.Addresses, cfg.Listen, err)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "can be seen by every user") {
			t.Errorf("%s: warnings %q", mode, warnings)
		}
	}
}

func TestOldClientFilesWithServerDefaultsAreTaken(t *testing.T) {
	file := `{"mode": "client", "remote_addr": "a:9000", "tunnel_addr": "10.0.0.2/24", "key": "0123456789abcdef", "multi_client": true, "max_clients": 100, "client_isolation": false, "config_push_interval": 0}`
	if _, _, err := load(t, file, nil); err != nil {
		t.Error(err)
	}
	if _, _, err := load(t, strings.Replace(file, "100", "50", 1), nil); err == nil || err.Error() != "f.json:1: max_clients: contradicts mode client: it is for servers; leave it out" {
		t.Errorf("got %v", err)
	}
}

func acceptOnly(t *testing.T, text string) routes.Policy {
	t.Helper()
	p, err := routes.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadTakesWhatThereIsAndStillRefusesWhatIsWrong(t *testing.T) {
	none := func(string) string { return "" }
	cfg, _, err := Read(Input{Flags: []Given{{Field: "seeds", Flag: "seed", Values: []string{"a.example.org:9000"}}}, Getenv: none})
	if err != nil || len(cfg.Seeds) != 1 || !cfg.Key.IsZero() {
		t.Errorf("%+v, %v", cfg, err)
	}
	if _, _, err := Read(Input{Flags: []Given{{Field: "seeds", Flag: "seed", Values: []string{"nowhere"}}}, Getenv: none}); err == nil {
		t.Error("a seed without a port was taken")
	}
	if _, _, err := Read(Input{File: t.TempDir() + "/missing.json", Getenv: none}); err == nil {
		t.Error("a file that is not there was taken")
	}
}
