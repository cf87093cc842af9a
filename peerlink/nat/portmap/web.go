package portmap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// web speaks HTTP with the router and nobody else, one request on one
// connection. Not [http.Transport]: that opens its connections on goroutines of
// its own, keeps them, and goes through proxies.
type web struct{ gw Gateway }

// longestAnswer bounds what is read of a description, in bytes.
const longestAnswer = 512 << 10

// webFor bounds one request.
const webFor = 3 * time.Second

// RoundTrip opens the connection on the goroutine that calls.
func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	port := 80
	var err error
	if text := r.URL.Port(); text != "" {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 1 || port > 65535 || r.URL.Scheme != "http" || r.URL.Hostname() != w.gw.Address.String() {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("the router %s points to %s, which is not its own", w.gw.Address, r.URL)
	}
	ctx, cancel := context.WithTimeout(r.Context(), webFor)
	conn, err := w.gw.dial(ctx, "tcp4", uint16(port))
	if err != nil {
		cancel()
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	end := func() {
		stop()
		cancel()
		conn.Close()
	}
	once := r.Clone(ctx)
	once.Close = true
	if err := once.Write(conn); err != nil {
		end()
		return nil, fmt.Errorf("ask the router: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, longestAnswer)), r)
	if err != nil {
		end()
		return nil, fmt.Errorf("the router's answer: %w", err)
	}
	answer.Body = &body{ReadCloser: answer.Body, end: end}
	return answer, nil
}

// body is what is left to read of an answer; its connection ends with it.
type body struct {
	io.ReadCloser
	end func()
}

// Close reads no further.
func (b *body) Close() error {
	b.end()
	return nil
}
