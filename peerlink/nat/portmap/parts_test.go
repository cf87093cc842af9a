package portmap

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap/pcp"
)

func TestTheEpochTellsARestart(t *testing.T) {
	begun := time.Now()
	for name, c := range map[string]struct {
		after time.Duration
		says  uint32
		lost  bool
	}{
		"as expected":               {time.Hour, 1000 + 3600, false},
		"a clock that is slow":      {time.Hour, 1000 + 3500, false},
		"a clock that is fast":      {time.Hour, 1000 + 3700, false},
		"a second back":             {time.Second, 999, false},
		"back to the beginning":     {time.Hour, 3, true},
		"restarted long ago":        {time.Hour, 1700, true},
		"a jump forward":            {time.Hour, 1000 + 7200, true},
		"at once, and it goes on":   {0, 1000, false},
		"this host's clock is back": {-time.Minute, 1000, true},
	} {
		var e epoch
		if e.observe(begun, 1000) {
			t.Errorf("%s: lost at first sight", name)
		}
		if got := e.observe(begun.Add(c.after), c.says); got != c.lost {
			t.Errorf("%s: lost %v, want %v", name, got, c.lost)
		}
	}
}

func TestWhichAddressesArePublic(t *testing.T) {
	for address, want := range map[string]bool{
		"9.9.9.9": true, "203.0.113.4": true, "198.18.0.1": true, "100.128.0.1": true, "172.32.0.1": true,
		"0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false,
		"100.127.255.254": false, "127.0.0.1": false, "169.254.1.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"2001:db8::1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public %v, want %v", address, got, want)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// found is what a common router answers to a search.
const found = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n" +
	"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n" +
	"USN: uuid:79c6::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n" +
	"SERVER: OpenWrt UPnP/1.1 MiniUPnPd/2.3\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"

func TestAnswersToASearchAreRead(t *testing.T) {
	where, err := parseSearchResponse([]byte(found))
	if err != nil || where.String() != "http://192.168.1.1:5000/rootDesc.xml" {
		t.Fatalf("got %v, %v", where, err)
	}
	for name, answer := range map[string]string{
		"not found":       strings.Replace(found, "200 OK", "404 Not Found", 1),
		"a request":       strings.Replace(found, "HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1", 1),
		"no location":     strings.Replace(found, "LOCATION", "X-LOCATION", 1),
		"another scheme":  strings.Replace(found, "http://192", "file://192", 1),
		"no host":         strings.Replace(found, "http://192.168.1.1:5000", "", 1),
		"no URL":          strings.Replace(found, "http://", "http://%%", 1),
		"nothing at all":  "",
		"something else.": "\x00\x80\x00\x00",
	} {
		if where, err := parseSearchResponse([]byte(answer)); err == nil {
			t.Errorf("%s: read %v", name, where)
		}
	}
}

func TestATruncatedAnswerToASearchNamesNoOtherPlace(t *testing.T) {
	for n := range found {
		if where, err := parseSearchResponse([]byte(found[:n])); err == nil {
			t.Errorf("%d of %d bytes: read %v", n, len(found), where)
		}
	}
}

func FuzzParseSearchResponse(f *testing.F) {
	f.Add([]byte(found))
	f.Add(searchRequest(gatewayDevice))
	f.Fuzz(func(t *testing.T, b []byte) {
		where, err := parseSearchResponse(b)
		if err == nil && (where.Scheme != "http" || where.Hostname() == "") {
			t.Fatalf("read %q", where)
		}
	})
}

func TestAnnouncementsAreToldFromOtherThings(t *testing.T) {
	for message, want := range map[string]bool{
		"0280000000000000" + "00000007" + "000000000000000000000000": true,  // PCP ANNOUNCE, RFC 6887, 14.1
		"00800000" + "00000003" + "09090901":                         true,  // NAT-PMP, RFC 6886, 3.2.1
		"0000":                                                       false, // a question for the address
		"00800000" + "00000003" + "0909":                             false,
		"0200000000000000" + "00000000000000000000ffffc0a80107":      false, // a question for PCP
		"": false,
	} {
		b, err := hex.DecodeString(message)
		if err != nil {
			t.Fatal(err)
		}
		if got := announces(b); got != want {
			t.Errorf("%s: %v, want %v", message, got, want)
		}
	}
}

func TestATruncatedAnnouncementIsNone(t *testing.T) {
	for _, whole := range [][]byte{pcpRestart, natpmpRestart} {
		if !announces(whole) {
			t.Errorf("%x is none", whole)
		}
		for n := range whole {
			if announces(whole[:n]) {
				t.Errorf("%x is one", whole[:n])
			}
		}
	}
}

// What servers say when they start.
var (
	pcpRestart    = append([]byte{2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}, make([]byte, 12)...)
	natpmpRestart = []byte{0, 0x80, 0, 0, 0, 0, 0, 3, 9, 9, 9, 1}
)

func FuzzAnnouncements(f *testing.F) {
	f.Add(pcpRestart)
	f.Add(natpmpRestart)
	f.Add(pcp.AppendAnnounce(nil, ours.Address)) // a question
	f.Add([]byte("NOTIFY * HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fitsPCP := len(b) >= 24 && b[0] == 2 && b[1] == 0x80
		fitsNATPMP := len(b) == 12 && b[0] == 0 && b[1] == 0x80
		if announces(b) && !fitsPCP && !fitsNATPMP {
			t.Fatalf("%x is taken for one", b)
		}
	})
}

func TestNoncesBelongToOneMappingAndOutliveARestart(t *testing.T) {
	config := Config{Ports: []Port{udp}, Published: &Published{}, Secret: []byte("key")}
	nonce := func(c Config, p Port) string {
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		of := m.net.(*system).nonces.of(ours.Address, p)
		return hex.EncodeToString(of[:])
	}
	first, other := nonce(config, udp), config
	if again := nonce(config, udp); again != first {
		t.Error("a restart has another nonce")
	}
	if nonce(config, tcp) == first {
		t.Error("two ports have one nonce")
	}
	other.Secret = nil
	random := nonce(other, udp)
	if again := nonce(other, udp); random == first || again == random {
		t.Error("without a secret nonces are not random")
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	good := Config{Ports: []Port{udp, tcp}, Published: &Published{}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no place":         func(c *Config) { c.Published = nil },
		"no port":          func(c *Config) { c.Ports = nil },
		"port 0":           func(c *Config) { c.Ports = []Port{{UDP, 0}} },
		"another network":  func(c *Config) { c.Ports = []Port{{1, 7}} },
		"twice":            func(c *Config) { c.Ports = []Port{udp, udp} },
		"too short":        func(c *Config) { c.Lifetime = time.Millisecond },
		"negative":         func(c *Config) { c.Lifetime = -time.Hour },
		"unknown protocol": func(c *Config) { c.Protocols = []Protocol{"smoke"} },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
