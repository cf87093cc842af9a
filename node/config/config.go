// Package config reads what the user wants: the flags of the command line over
// the fields of a JSON file over the defaults.
//
// One table (fields.go) says for each field its name in the file, its flags,
// its meaning and its check, so that file, flags and help cannot drift apart.
// All problems are found before anything starts, and reported together, each
// with the place where it stands.
package config

import (
	"net/netip"
	"path/filepath"
	"time"

	"github.com/openbmx/lightweight-tunnel/routes"
)

// Mode is the part that the predecessor's `-m` gives to a node.
type Mode string

// The modes. A node without a given mode is a Server if it has no seed.
const (
	Server Mode = "server"
	Client Mode = "client"
)

// FECMode says who chooses the code rate of forward error correction.
type FECMode string

// The ways to choose it.
const (
	FECAuto  FECMode = "auto"
	FECOff   FECMode = "off"
	FECFixed FECMode = "fixed"
)

// FEC is the code rate: Data and Parity count for FECFixed only.
type FEC struct {
	Mode         FECMode
	Data, Parity int // datagrams per group
}

// Config is everything a node is told. It comes from [Load], which has checked
// it as a whole; afterwards it is read-only and may be shared.
type Config struct {
	Mode      Mode
	Listen    []netip.AddrPort
	Seeds     []string // HOST:PORT, names not yet resolved
	Addresses []netip.Prefix
	Name      string
	Key       Secret
	KeySource string // where Key came from, in words

	Interface      string // wanted name of the TUN device
	InterfaceAsked bool   // false: any free name will do
	StateDir       string // absolute, or empty: see [Config.StatePath]
	MTU            int    // bytes; 0: discover
	FEC            FEC
	SendQueue      int // packets
	RecvQueue      int // packets
	MultiClient    bool
	MaxClients     int
	Isolation      bool
	Routes         []netip.Prefix
	AcceptRoutes   routes.Policy

	Transport     string // auto, rawtcp or udp
	XDP           bool
	KernelTune    bool
	P2P           bool
	P2PPort       int           // 0: that of Listen, any if there is none or it is taken
	P2PTimeout    time.Duration // of one attempt at a direct path
	P2PKeepalive  time.Duration
	MeshRouting   bool
	MaxHops       int
	NATDetection  bool
	STUN          []string // HOST:PORT; empty: the default servers
	STUNOff       bool
	PortMap       bool
	Keepalive     time.Duration
	Timeout       time.Duration
	KeyRotation   time.Duration // 0: never
	RouteUpdate   time.Duration
	RouteAdvert   time.Duration
	Broadcast     time.Duration // least time between two broadcasts
	Incremental   bool
	PeerInfoBatch int

	Metrics   string // ADDR:PORT, or empty
	LogLevel  string
	LogFormat string
	Memory    int64 // bytes; 0: no ceiling

	// Version is that of the program; not a field of the file.
	Version string
	// Rekey is how old the keys of a connection become; 0: as old as usual. Not a
	// field of the file: tests under load cannot wait so long.
	Rekey time.Duration

	// set says where each field was given, by its name in the file; what is
	// missing here has its default.
	set map[string]string
}

// Default is the configuration before anybody said anything. It is not a valid
// one: address, key, and listen or seed are missing.
func Default() Config {
	return Config{
		Interface: "tun0", MTU: 1400, FEC: FEC{Mode: FECAuto, Data: 10, Parity: 3},
		SendQueue: 5000, RecvQueue: 5000, MultiClient: true, MaxClients: 100,
		AcceptRoutes: routes.AcceptAll, Transport: "auto", XDP: true, KernelTune: true,
		P2P: true, P2PTimeout: 5 * time.Second, P2PKeepalive: 25 * time.Second,
		MeshRouting: true, MaxHops: 3, NATDetection: true, PortMap: true,
		Keepalive: 5 * time.Second, Timeout: 15 * time.Second,
		RouteUpdate: 30 * time.Second, RouteAdvert: 300 * time.Second,
		Broadcast: time.Second, Incremental: true, PeerInfoBatch: 10,
		LogLevel: "info", LogFormat: "auto",
		set: map[string]string{},
	}
}

// IsSet says whether the field of this name (in the file) was given by the user.
func (c Config) IsSet(field string) bool { return c.set[field] != "" }

// StateRoot is the parent of the state directories of nodes that were given none.
const StateRoot = "/var/lib/lightweight-tunnel"

// StatePath is where the node keeps identity and roster when its device has
// this name.
func (c Config) StatePath(device string) string {
	if c.StateDir != "" {
		return c.StateDir
	}
	return filepath.Join(StateRoot, device)
}

// Secret is a key as the user wrote it. It prints as nothing useful, so that no
// log line, error or dump can carry it.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the key itself.
func (s Secret) Reveal() string { return s.text }

// IsZero says that there is no key.
func (s Secret) IsZero() bool { return s.text == "" }

// String, GoString and MarshalText hide the key.
func (s Secret) String() string               { return "(secret)" }
func (s Secret) GoString() string             { return "(secret)" }
func (s Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }
