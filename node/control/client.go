package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What [Find] wraps when it is not clear whom to talk to.
var (
	ErrNoNode  = errors.New("no node is running here")
	ErrSeveral = errors.New("several nodes are running here")
)

// Where says which node is meant: by its state directory, by its device, or
// the only one that there is.
type Where struct {
	StateDir  string
	Interface string
	RunDir    string // empty: [RunDir]
}

// Find returns a client for the node that w means. It wraps ErrNoNode if there
// is none, ErrSeveral if w does not say which.
func Find(w Where) (*Client, error) {
	if w.RunDir == "" {
		w.RunDir = RunDir
	}
	switch {
	case w.StateDir != "":
		path := SocketPath(w.StateDir, "")
		if !alive(path) {
			return nil, fmt.Errorf("%w: nobody answers at %s; start one with: lightweight-tunnel node run --state-dir %s", ErrNoNode, path, w.StateDir)
		}
		return NewClient(path), nil
	case w.Interface != "":
		path := filepath.Join(w.RunDir, w.Interface+".sock")
		if !alive(path) {
			return nil, fmt.Errorf("%w with interface %s: nobody answers at %s%s", ErrNoNode, w.Interface, path, others(w.RunDir))
		}
		return NewClient(path), nil
	}
	switch names := running(w.RunDir); len(names) {
	case 1:
		return NewClient(filepath.Join(w.RunDir, names[0]+".sock")), nil
	case 0:
		hint := ""
		if os.Geteuid() != 0 {
			hint = " that you may talk to (only root may)"
		}
		return nil, fmt.Errorf("%w%s; start one with: lightweight-tunnel node run, or say --state-dir DIR if it has its own", ErrNoNode, hint)
	default:
		return nil, fmt.Errorf("%w; say which: --interface %s", ErrSeveral, strings.Join(names, ", or --interface "))
	}
}

// running lists the devices of the nodes that answer.
func running(dir string) (names []string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
	for _, p := range paths {
		if alive(p) {
			names = append(names, strings.TrimSuffix(filepath.Base(p), ".sock"))
		}
	}
	return names
}

func others(dir string) string {
	if names := running(dir); len(names) > 0 {
		return "; there is one with --interface " + strings.Join(names, ", --interface ")
	}
	return ""
}

// Client talks to one node. Any goroutine may use it.
type Client struct {
	http *http.Client
	path string
}

// NewClient returns a client for the socket at path; it connects when asked something.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableCompression: true, MaxIdleConns: 1, ResponseHeaderTimeout: time.Minute,
	}}}
}

// Peers fetches what the node knows of its peers.
func (c *Client) Peers(ctx context.Context) (v PeersView, err error) {
	err = c.ask(ctx, http.MethodGet, "peers", nil, &v)
	return v, err
}

// Status fetches the status.
func (c *Client) Status(ctx context.Context) (v StatusView, err error) {
	err = c.ask(ctx, http.MethodGet, "status", nil, &v)
	return v, err
}

// Routes fetches the routes.
func (c *Client) Routes(ctx context.Context) (v RoutesView, err error) {
	err = c.ask(ctx, http.MethodGet, "routes", nil, &v)
	return v, err
}

// Join makes the node join through one more seed.
func (c *Client) Join(ctx context.Context, hostport string) error {
	return c.ask(ctx, http.MethodPost, "join", map[string]string{"seed": hostport}, nil)
}

// Leave makes the node leave the mesh and stop.
func (c *Client) Leave(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "leave", nil, nil)
}

// Fail makes one of the node's actors panic.
func (c *Client) Fail(ctx context.Context, actor string) error {
	return c.ask(ctx, http.MethodPost, "fail", map[string]string{"actor": actor}, nil)
}

// Ping calls emit for every reply as it comes.
func (c *Client) Ping(ctx context.Context, peer string, count int, emit func(PingReply)) error {
	resp, err := c.do(ctx, http.MethodPost, "ping", map[string]any{"peer": peer, "count": count})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var line struct {
			PingReply
			failure
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read the node's answer: %w", err)
		}
		if line.failure.Error != "" {
			return errors.New(line.failure.Error)
		}
		emit(line.PingReply)
	}
	if err := lines.Err(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the node stopped while it answered: %w", err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, method, what string, question, answer any) error {
	resp, err := c.do(ctx, method, what, question)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}

// do returns the answer if it is a good one. The caller closes its body.
func (c *Client) do(ctx context.Context, method, what string, question any) (*http.Response, error) {
	var body bytes.Buffer
	if question != nil {
		if err := json.NewEncoder(&body).Encode(question); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://node/v1/"+what, &body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			return nil, fmt.Errorf("%w: %s: %w", ErrNoNode, c.path, refused.Err)
		}
		return nil, fmt.Errorf("ask the node at %s: %w", c.path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the node answered %s: it may be of another version", resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, notFound{f.Error}
	}
	return nil, errors.New(f.Error)
}

// notFound brings ErrNotFound across the socket.
type notFound struct{ text string }

func (e notFound) Error() string        { return e.text }
func (e notFound) Is(target error) bool { return target == ErrNotFound }
