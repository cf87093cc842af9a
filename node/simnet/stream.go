package simnet

import (
	"net"
	"time"
)

// gossipConn is one end of a stream between two nodes of an [Overlay]: what is
// written takes the line's delay, and once the line has failed nothing comes any
// more, not even the end, so that who reads without a deadline waits for ever,
// as TCP would have it.
type gossipConn struct {
	net.Conn
	t             *GossipTransport
	local, remote net.Addr
}

// connect returns the two ends of a new stream.
func connect(near, far *GossipTransport) (a, b net.Conn) {
	nearApp, nearWire := net.Pipe()
	farApp, farWire := net.Pipe()
	go relay(near, far, nearWire, farWire)
	go relay(far, near, farWire, nearWire)
	return near.adopt(nearApp, far), far.adopt(farApp, near)
}

// adopt makes c end with the transport.
func (t *GossipTransport) adopt(c net.Conn, other *GossipTransport) net.Conn {
	g := &gossipConn{Conn: c, t: t, local: net.TCPAddrFromAddrPort(t.addr), remote: net.TCPAddrFromAddrPort(other.addr)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		c.Close()
		return g
	}
	t.conns[g] = struct{}{}
	return g
}

// relay carries one direction until its source is closed.
func relay(from, to *GossipTransport, src, dst net.Conn) {
	defer src.Close()
	buf := make([]byte, 256<<10)
	stalled := false
	for {
		n, err := src.Read(buf)
		if !stalled {
			<-time.After(from.overlay.delay())
			stalled = !from.overlay.joins(from, to)
		}
		switch {
		case stalled:
		case err != nil:
			dst.Close()
		default:
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// joins says whether these very transports still reach each other.
func (o *Overlay) joins(from, to *GossipTransport) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, b := from.addr.Addr(), to.addr.Addr()
	return o.nodes[a] == from && o.nodes[b] == to && o.reaches(a, b)
}

func (c *gossipConn) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

func (c *gossipConn) LocalAddr() net.Addr  { return c.local }
func (c *gossipConn) RemoteAddr() net.Addr { return c.remote }
