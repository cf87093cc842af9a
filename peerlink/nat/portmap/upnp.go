package portmap

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/huin/goupnp"
	igd "github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

// connection is what the three services that know port mappings have in common.
type connection interface {
	GetServiceClient() *goupnp.ServiceClient
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	AddPortMappingCtx(ctx context.Context, remote string, external uint16, network string, internal uint16,
		client string, enabled bool, description string, seconds uint32) error
	DeletePortMappingCtx(ctx context.Context, remote string, external uint16, network string) error
}

// upnpSpeaker asks by UPnP-IGD.
type upnpSpeaker struct {
	gw   Gateway
	cfg  *Config
	conn connection
	// permanent: this router knows no leases. What is opened stays until it is
	// removed, or overwritten by the next start.
	permanent bool
}

// findUPnP waits for an answer to the search and returns a speaker for the first
// service of the router that knows its external address.
func findUPnP(ctx context.Context, s *search, cfg *Config) (*upnpSpeaker, error) {
	var known []string
	var failed error
	for len(known) < 4 {
		where, err := s.location(ctx, known)
		if err != nil {
			if failed != nil {
				return nil, failed
			}
			return nil, err
		}
		known = append(known, where)
		all, err := describe(ctx, s.gw, where)
		if err != nil {
			failed = err
			continue
		}
		for _, c := range all {
			found := &upnpSpeaker{gw: s.gw, cfg: cfg, conn: c}
			if _, err := found.external(ctx); err != nil {
				failed = err
				continue
			}
			return found, nil
		}
	}
	return nil, failed
}

// describe reads the description of a device and returns its connections.
func describe(ctx context.Context, gw Gateway, where string) ([]connection, error) {
	base, err := url.Parse(where)
	if err != nil {
		return nil, fmt.Errorf("read the router's description: %w", err)
	}
	client := http.Client{Transport: web{gw: gw}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, fmt.Errorf("read the router's description: %w", err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the router's description: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read the router's description at %s: %s", where, answer.Status)
	}
	root := new(goupnp.RootDevice)
	decoder := xml.NewDecoder(answer.Body)
	decoder.DefaultSpace = goupnp.DeviceXMLNamespace
	decoder.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // names may look odd, URLs are ASCII
	if err := decoder.Decode(root); err != nil {
		return nil, fmt.Errorf("read the router's description at %s: %w", where, err)
	}
	if u, err := url.Parse(root.URLBaseStr); err == nil && u.Hostname() == base.Hostname() {
		base = u
	}
	root.SetURLBase(base)
	return connections(root, base, &client)
}

// connections lists the services in the order of preference.
func connections(root *goupnp.RootDevice, base *url.URL, client *http.Client) (all []connection, err error) {
	// "Not found" is the only error of these three.
	v2, _ := igd.NewWANIPConnection2ClientsFromRootDevice(root, base)
	for _, c := range v2 {
		all = append(all, c)
	}
	v1, _ := igd.NewWANIPConnection1ClientsFromRootDevice(root, base)
	for _, c := range v1 {
		all = append(all, c)
	}
	ppp, _ := igd.NewWANPPPConnection1ClientsFromRootDevice(root, base)
	for _, c := range ppp {
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the device %q has no connection to the internet to speak of", root.Device.FriendlyName)
	}
	for _, c := range all {
		c.GetServiceClient().SOAPClient.HTTPClient = *client
	}
	return all, nil
}

func (s *upnpSpeaker) Protocol() Protocol { return UPnP }

// Errors of AddPortMapping (WANIPConnection:2, 2.5.16).
const (
	conflictInMapping     = 718
	samePortsRequired     = 724
	onlyPermanentLeases   = 725
	conflictWithMechanism = 729
)

// Map opens or renews. A port that another host has is not fought for: after
// three more at random it gives up.
func (s *upnpSpeaker) Map(ctx context.Context, p Port, external netip.AddrPort) (grant, error) {
	address, err := s.external(ctx)
	if err != nil {
		return grant{}, err
	}
	port := external.Port()
	if port == 0 {
		port = p.Number
	}
	for tries := 4; ; {
		err := s.add(ctx, p, port)
		switch {
		case err == nil:
			return grant{external: netip.AddrPortFrom(address, port), lifetime: s.cfg.Lifetime}, nil
		case fault(err) == onlyPermanentLeases && !s.permanent:
			s.permanent = true
			continue
		case fault(err) == samePortsRequired && port != p.Number:
			port = p.Number
			continue
		case fault(err) == conflictInMapping || fault(err) == conflictWithMechanism:
			port = uint16(20000 + rand.IntN(40000))
		default:
			return grant{}, said(err)
		}
		if tries--; tries == 0 {
			return grant{}, said(err)
		}
	}
}

func (s *upnpSpeaker) add(ctx context.Context, p Port, external uint16) error {
	seconds := s.cfg.seconds()
	if s.permanent {
		seconds = 0
	}
	return s.conn.AddPortMappingCtx(ctx, "", external, strings.ToUpper(p.Network.String()), p.Number,
		s.gw.Source.String(), true, s.cfg.Name, seconds)
}

// Unmap removes the mapping of an external port.
func (s *upnpSpeaker) Unmap(ctx context.Context, p Port, g grant) error {
	err := s.conn.DeletePortMappingCtx(ctx, "", g.external.Port(), strings.ToUpper(p.Network.String()))
	if err != nil {
		return said(err)
	}
	return nil
}

func (s *upnpSpeaker) external(ctx context.Context) (netip.Addr, error) {
	text, err := s.conn.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.Addr{}, said(err)
	}
	if text == "" { // what some say while their own connection is down
		return netip.IPv4Unspecified(), nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the router's external address %q: %w", text, err)
	}
	return address.Unmap(), nil
}

// fault is the router's error code; 0 if it did not answer with one.
func fault(err error) int {
	var f *soap.SOAPFaultError
	if errors.As(err, &f) {
		return f.Detail.UPnPError.Errorcode
	}
	return 0
}

// said shortens a fault, of which the library shows the XML, to its words.
func said(err error) error {
	var f *soap.SOAPFaultError
	if !errors.As(err, &f) {
		return err
	}
	e := f.Detail.UPnPError
	if e.ErrorDescription == "" {
		return fmt.Errorf("the router says %s, error %d", f.FaultString, e.Errorcode)
	}
	return fmt.Errorf("the router says %s, error %d", e.ErrorDescription, e.Errorcode)
}
