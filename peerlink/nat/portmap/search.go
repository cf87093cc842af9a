package portmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// search looks for a UPnP device at the router's address (UPnP Device
// Architecture 1.1, 1.3.2). Only answers from there count. It is our own because
// that of goupnp asks on all interfaces, and never waits for less than its full
// time.
type search struct {
	gw   Gateway
	conn net.PacketConn
	err  error
}

const (
	ssdpPort = 1900
	// gatewayDevice is answered by devices of version 2 too.
	gatewayDevice = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	// searchFor is longer than the second (MX) for which a device may think.
	searchFor = 1500 * time.Millisecond
)

// searchRequest must have its headers in capitals: some devices want it so.
func searchRequest(target string) []byte {
	return fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:%d\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n",
		ssdpPort, target)
}

// begin asks; the answers are waited for later, by locations.
func (s *search) begin(ctx context.Context) {
	config := net.ListenConfig{Control: s.gw.bind}
	s.conn, s.err = config.ListenPacket(ctx, "udp4", netip.AddrPortFrom(s.gw.Source, 0).String())
	if s.err != nil {
		s.err = fmt.Errorf("open a socket: %w", s.err)
		return
	}
	_ = s.conn.SetDeadline(time.Now().Add(searchFor))
	group := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 255, 250}), ssdpPort))
	router := net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.gw.Address, ssdpPort))
	for range 2 { // in case that one is lost
		_, err := s.conn.WriteTo(searchRequest(gatewayDevice), group)
		// A firewall on this host takes no answer to multicast for one.
		if _, single := s.conn.WriteTo(searchRequest(gatewayDevice), router); err != nil && single != nil {
			s.err = fmt.Errorf("search for devices: %w", err)
			return
		}
	}
}

// location waits for an answer and returns where the device describes itself: a
// URL at the router's address that is not among the known ones.
func (s *search) location(ctx context.Context, known []string) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if isTimeout(err) {
			return "", errSilent
		}
		if err != nil {
			return "", unreachable(err)
		}
		if from.(*net.UDPAddr).AddrPort().Addr().Unmap() != s.gw.Address {
			continue
		}
		where, err := parseSearchResponse(buf[:n])
		if err == nil && where.Hostname() == s.gw.Address.String() && !slices.Contains(known, where.String()) {
			return where.String(), nil
		}
	}
}

func (s *search) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// parseSearchResponse returns the location that an answer names.
func parseSearchResponse(b []byte) (*url.URL, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil, fmt.Errorf("answer to a search: %w", err)
	}
	defer r.Body.Close()
	where, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("answer to a search: location: %w", err)
	}
	if r.StatusCode != http.StatusOK || where.Scheme != "http" || where.Hostname() == "" {
		return nil, errors.New("answer to a search: not a device with a location")
	}
	return where, nil
}
