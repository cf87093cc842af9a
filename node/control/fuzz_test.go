package control

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// picky is a Source that takes nothing but what the server has promised to check.
type picky struct{ t *testing.T }

func (picky) Peers() PeersView   { return PeersView{} }
func (picky) Status() StatusView { return StatusView{} }
func (picky) Routes() RoutesView { return RoutesView{} }
func (p picky) Ping(_ context.Context, peer string, count int, emit func(PingReply)) error {
	if peer == "" || count < 1 || count > maxPings {
		p.t.Errorf("asked for %d pings of %q", count, peer)
	}
	emit(PingReply{Seq: 1})
	return nil
}
func (p picky) Join(_ context.Context, seed string) error {
	if _, _, err := net.SplitHostPort(seed); err != nil {
		p.t.Errorf("asked to join %q", seed)
	}
	return nil
}
func (picky) Leave(context.Context) error { return nil }
func (picky) Fail(string) error           { return ErrNotFound }

func FuzzRequests(f *testing.F) {
	socket, err := Listen(filepath.Join(f.TempDir(), "control.sock"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { socket.Close() })
	f.Add("join", []byte(`{"seed": "fra.example:9000"}`))
	f.Add("join", []byte(`{"seed": "fra.example"} {}`))
	f.Add("ping", []byte(`{"peer": "fra", "count": 3}`))
	f.Add("ping", []byte(`{"peer": "fra", "count": 1e9}`))
	f.Add("leave", []byte{})
	f.Add("fail", []byte(`{"actor": "routes"}`))
	f.Add("peers", []byte("null"))
	f.Fuzz(func(t *testing.T, request string, body []byte) {
		known := map[string]bool{"join": true, "ping": true, "leave": true, "fail": true}
		if !known[request] {
			request = "join"
		}
		s, err := New(Config{Socket: socket, Source: picky{t}})
		if err != nil {
			t.Fatal(err)
		}
		fault := make(chan error, 1)
		got := httptest.NewRecorder()
		s.guarded(fault).ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), "POST", "http://node/v1/"+request, strings.NewReader(string(body))))
		select {
		case err := <-fault:
			t.Errorf("%s %q: %v", request, body, err)
		default:
		}
		if got.Code >= 500 || !json.Valid(got.Body.Bytes()) {
			t.Errorf("%s %q: %d %s", request, body, got.Code, got.Body)
		}
	})
}
