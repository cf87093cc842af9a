package portmap

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/soap"
)

// device is a connection of a router in memory, with some of the rules that
// routers have.
type device struct {
	external   string
	permanent  bool            // knows no leases
	samePorts  bool            // the port outside must be the one inside
	taken      map[uint16]bool // by other hosts
	full       bool
	calls      int
	got        string
	gotSeconds uint32
}

func refusal(code int, words string) error {
	f := &soap.SOAPFaultError{FaultCode: "s:Client", FaultString: "UPnPError"}
	f.Detail.UPnPError.Errorcode, f.Detail.UPnPError.ErrorDescription = code, words
	return f
}

func (d *device) GetServiceClient() *goupnp.ServiceClient { return nil }

func (d *device) GetExternalIPAddressCtx(context.Context) (string, error) { return d.external, nil }

func (d *device) AddPortMappingCtx(_ context.Context, remote string, external uint16, network string, internal uint16,
	client string, enabled bool, description string, seconds uint32) error {
	d.calls++
	switch {
	case d.full:
		return refusal(501, "ActionFailed")
	case d.permanent && seconds != 0:
		return refusal(onlyPermanentLeases, "OnlyPermanentLeasesSupported")
	case d.samePorts && external != internal:
		return refusal(samePortsRequired, "SamePortValuesRequired")
	case d.taken[external]:
		return refusal(conflictInMapping, "ConflictInMappingEntry")
	}
	d.got = fmt.Sprintf("%q %d %s %s:%d %v %s", remote, external, network, client, internal, enabled, description)
	d.gotSeconds = seconds
	return nil
}

func (d *device) DeletePortMappingCtx(_ context.Context, _ string, external uint16, network string) error {
	d.got = fmt.Sprintf("delete %d %s", external, network)
	return nil
}

func ask(d *device, wish string) (grant, *upnpSpeaker, error) {
	if d.external == "" {
		d.external = "203.0.113.9"
	}
	s := &upnpSpeaker{gw: ours, conn: d, cfg: &Config{Name: "a node", Lifetime: 20 * time.Minute}}
	g, err := s.Map(context.Background(), udp, netip.MustParseAddrPort(wish))
	return g, s, err
}

func TestUPnPAsksForWhatIsWanted(t *testing.T) {
	d := &device{}
	g, s, err := ask(d, "0.0.0.0:51820")
	if want := `"" 51820 UDP 192.168.1.7:51820 true a node`; err != nil || d.got != want || d.gotSeconds != 1200 {
		t.Fatalf("asked for %s, %d s, %v; want %s", d.got, d.gotSeconds, err, want)
	}
	if g.external != netip.MustParseAddrPort("203.0.113.9:51820") || g.lifetime != 20*time.Minute || g.timed {
		t.Fatalf("got %+v", g)
	}
	if err := s.Unmap(context.Background(), udp, g); err != nil || d.got != "delete 51820 UDP" {
		t.Fatalf("asked to %s, %v", d.got, err)
	}
}

func TestUPnPMindsTheRulesOfTheRouter(t *testing.T) {
	for name, c := range map[string]struct {
		device device
		wish   string
		good   func(grant, *device) bool
	}{
		"no leases": {device{permanent: true}, "0.0.0.0:51820",
			func(g grant, d *device) bool { return d.gotSeconds == 0 && g.external.Port() == 51820 }},
		"same ports": {device{samePorts: true}, "203.0.113.9:40000",
			func(g grant, _ *device) bool { return g.external.Port() == 51820 }},
		"same ports, no leases": {device{samePorts: true, permanent: true}, "203.0.113.9:40000",
			func(g grant, _ *device) bool { return g.external.Port() == 51820 }},
		"taken by another host": {device{taken: map[uint16]bool{51820: true}}, "0.0.0.0:51820",
			func(g grant, _ *device) bool { return g.external.Port() >= 20000 && g.external.Port() != 51820 }},
	} {
		g, _, err := ask(&c.device, c.wish)
		if err != nil || !c.good(g, &c.device) {
			t.Errorf("%s: got %+v (%d calls), %v", name, g, c.device.calls, err)
		}
	}
}

func TestUPnPGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		device device
		most   int
		words  string
	}{
		"full":                   {device{full: true}, 1, "the router says ActionFailed, error 501"},
		"taken, and same wanted": {device{samePorts: true, taken: map[uint16]bool{51820: true}}, 12, "ConflictInMappingEntry"},
	} {
		_, _, err := ask(&c.device, "0.0.0.0:51820")
		if err == nil || c.device.calls > c.most || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %d calls, %v", name, c.device.calls, err)
		}
	}
	for _, external := range []string{"nonsense", "1.2.3"} {
		if _, _, err := ask(&device{external: external}, "0.0.0.0:51820"); err == nil {
			t.Errorf("external address %q was believed", external)
		}
	}
}

func TestNobodyButTheRouterIsAsked(t *testing.T) {
	client := http.Client{Transport: web{gw: ours}}
	for _, url := range []string{
		"http://192.168.1.2/", "http://localhost:5000/", "https://192.168.1.1/", "http://192.168.1.1:0/", "http://192.168.1.1.example.org/",
	} {
		r, err := client.Get(url)
		if err == nil {
			r.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "which is not its own") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
