package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	maxBody    = 64 << 10         // bytes of a request
	maxPings   = 100_000          // per request
	quick      = 10 * time.Second // for a request to arrive and an answer to leave
	drainAfter = 300 * time.Millisecond
)

// Config is what a [Server] needs.
type Config struct {
	Socket *Socket
	Source Source
	Log    hclog.Logger
}

// Server answers the command line. It is an actor: Run it once.
type Server struct {
	socket *Socket
	source Source
	log    hclog.Logger
}

// New checks cfg and starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Socket == nil || cfg.Source == nil {
		return nil, errors.New("control server: it needs a socket and a source")
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	return &Server{socket: cfg.Socket, source: cfg.Source, log: cfg.Log}, nil
}

// Run serves until ctx ends; answers under way are finished, pings are cut off.
// The socket stays open for the next run.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.socket.lease()
	if err != nil {
		return fmt.Errorf("control socket %s: %w", s.socket.path, err)
	}
	// A fault in a handler is this actor's fault: net/http would swallow it.
	fault := make(chan error, 1)
	server := &http.Server{
		Handler:           s.guarded(fault),
		ReadHeaderTimeout: quick,
		ReadTimeout:       quick,
		IdleTimeout:       quick,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-fault:
	case err = <-served:
		served <- err
		err = fmt.Errorf("serve the control socket: %w", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainAfter)
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close() // somebody does not read their answer
	}
	if late := <-served; err == nil && !errors.Is(late, http.ErrServerClosed) {
		err = late
	}
	return err
}

func (s *Server) guarded(fault chan<- error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/peers", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.source.Peers()) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.source.Status()) })
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.source.Routes()) })
	mux.HandleFunc("POST /v1/ping", s.ping)
	mux.HandleFunc("POST /v1/join", s.join)
	mux.HandleFunc("POST /v1/leave", s.leave)
	mux.HandleFunc("POST /v1/fail", s.fail)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("request failed", "request", r.URL.Path, "reason", p, "stack", string(debug.Stack()))
				refuse(w, http.StatusInternalServerError, fmt.Errorf("the node failed at it: %v", p))
				select {
				case fault <- fmt.Errorf("control request %s: panic: %v", r.URL.Path, p):
				default:
				}
			}
		}()
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Peer  string `json:"peer"`
		Count int    `json:"count"`
	}
	if !question(w, r, &q) {
		return
	}
	if q.Peer == "" || q.Count < 1 || q.Count > maxPings {
		refuse(w, http.StatusBadRequest, fmt.Errorf("ping: want a peer and a count from 1 to %d", maxPings))
		return
	}
	flow := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	began := false
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	err := s.source.Ping(ctx, q.Peer, q.Count, func(p PingReply) {
		if !began {
			began = true
			w.Header().Set("Content-Type", "application/jsonl")
		}
		_ = flow.SetWriteDeadline(time.Now().Add(quick)) // a reader that went away must not hold us
		if enc.Encode(p) != nil || flow.Flush() != nil {
			cancel()
		}
	})
	switch {
	case err == nil:
	case began:
		_ = enc.Encode(failure{err.Error()})
	default:
		refuse(w, statusOf(err), err)
	}
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Seed string `json:"seed"`
	}
	if !question(w, r, &q) {
		return
	}
	if _, _, err := net.SplitHostPort(q.Seed); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("join: %q: want HOST:PORT", q.Seed))
		return
	}
	s.done(w, s.source.Join(r.Context(), q.Seed))
}

func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	s.done(w, s.source.Leave(r.Context()))
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Actor string `json:"actor"`
	}
	if question(w, r, &q) {
		s.done(w, s.source.Fail(q.Actor))
	}
}

func (s *Server) done(w http.ResponseWriter, err error) {
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	answer(w, struct{}{})
}

// failure is how every error travels.
type failure struct {
	Error string `json:"error"`
}

func statusOf(err error) int {
	if errors.Is(err, ErrNotFound) {
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// question reads the request's JSON into q, or refuses.
func question(w http.ResponseWriter, r *http.Request, q any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(q)
	if err == nil && dec.Decode(&struct{}{}) != io.EOF {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("request: %w", err))
	}
	return err == nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(quick))
	_ = json.NewEncoder(w).Encode(v) // the asker went away: nobody is left to tell
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(failure{err.Error()})
}
