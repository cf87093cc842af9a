package lab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Transferred is what went through a TCP connection and was found intact.
type Transferred struct {
	Bytes int64
	Took  time.Duration
	SHA   [sha256.Size]byte // the same at both ends
}

// Mbps is the rate in Mbit/s.
func (t Transferred) Mbps() float64 { return float64(t.Bytes) * 8 / t.Took.Seconds() / 1e6 }

// Transfer sends random bytes over one TCP connection from one namespace to an
// address of another, and compares the SHA-256 of what was sent with that of
// what arrived. Its sockets are in the namespaces, it itself is not.
func Transfer(ctx context.Context, from, to *Namespace, address string, bytes int64) (Transferred, error) {
	listener, err := to.Listen(ctx, address)
	if err != nil {
		return Transferred{}, err
	}
	defer listener.Close()
	began := time.Now()
	connection, err := from.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return Transferred{}, err
	}
	defer connection.Close()
	until(ctx, connection)
	arrived := make(chan error, 1)
	received := sha256.New()
	go func() {
		arrived <- func() error {
			until(ctx, listener.(*net.TCPListener))
			in, err := listener.Accept()
			if err != nil {
				return err
			}
			defer in.Close()
			until(ctx, in)
			n, err := io.Copy(received, in)
			if err == nil && n != bytes {
				err = fmt.Errorf("%d of %d bytes arrived", n, bytes)
			}
			return err
		}()
	}()
	sent := sha256.New()
	err = send(connection, sent, bytes)
	if err == nil {
		err = connection.Close()
	}
	if err := errors.Join(err, <-arrived); err != nil {
		return Transferred{}, fmt.Errorf("TCP from %s to %s (%s): %w", from.Role, to.Role, address, err)
	}
	t := Transferred{Bytes: bytes, Took: time.Since(began), SHA: [sha256.Size]byte(received.Sum(nil))}
	if t.SHA != [sha256.Size]byte(sent.Sum(nil)) {
		return t, fmt.Errorf("TCP from %s to %s (%s): what arrived is not what was sent", from.Role, to.Role, address)
	}
	return t, nil
}

func send(w io.Writer, sum hash.Hash, bytes int64) error {
	_, err := io.CopyN(io.MultiWriter(w, sum), rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), rand.Uint64()))), bytes)
	return err
}

// Datagrams sends UDP datagrams of a size (at least 40) from one namespace to
// an address of another, never more than a few ahead of the receiver, and
// returns how many arrived intact. One that is damaged is an error.
func Datagrams(ctx context.Context, from, to *Namespace, address string, count, size int) (arrived int, err error) {
	in, err := to.ListenPacket(ctx, address)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	until(ctx, in)
	out, err := from.Dial(ctx, "udp", in.LocalAddr().String())
	if err != nil {
		return 0, err
	}
	defer out.Close()
	until(ctx, out)
	const ahead = 16
	buffer, random := make([]byte, 65536), rand.NewChaCha8([32]byte{})
	for sent := 0; sent < count; {
		burst := min(ahead, count-sent)
		for range burst {
			payload := buffer[:size]
			_, _ = random.Read(payload[sha256.Size:]) // never fails
			sum := sha256.Sum256(payload[sha256.Size:])
			copy(payload, sum[:])
			_, err := out.Write(payload)
			if errors.Is(err, syscall.EMSGSIZE) {
				// A router's "packet too big" about an earlier one (RFC 8201); the
				// kernel cuts finer from now on.
				_, err = out.Write(payload)
			}
			if err != nil {
				return arrived, fmt.Errorf("UDP from %s to %s (%s): %w", from.Role, to.Role, address, err)
			}
		}
		sent += burst
		for range burst {
			// What takes longer than this is lost.
			if err := in.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
				return arrived, err
			}
			n, _, err := in.ReadFrom(buffer)
			if err != nil {
				break
			}
			if n != size || sha256.Sum256(buffer[sha256.Size:n]) != [sha256.Size]byte(buffer) {
				return arrived, fmt.Errorf("UDP from %s to %s (%s): a datagram of %d bytes arrived damaged, %d long", from.Role, to.Role, address, size, n)
			}
			arrived++
		}
		if ctx.Err() != nil {
			return arrived, context.Cause(ctx)
		}
	}
	return arrived, nil
}

// Listen opens a TCP listener in the namespace, on a free port of the address.
func (n *Namespace) Listen(ctx context.Context, address string) (listener net.Listener, err error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	return listener, err
}

// ListenPacket opens a UDP socket in the namespace, on a free port of the address.
func (n *Namespace) ListenPacket(ctx context.Context, address string) (socket net.PacketConn, err error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() (err error) {
		socket, err = new(net.ListenConfig).ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	return socket, err
}

// Dial connects from the namespace to a literal address and port.
func (n *Namespace) Dial(ctx context.Context, network, address string) (connection net.Conn, err error) {
	// A name would be resolved, and perhaps dialled, on another thread, outside.
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, err
	}
	err = n.Do(func() (err error) {
		connection, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return connection, err
}

// until gives a socket the time that its context has.
func until(ctx context.Context, socket interface{ SetDeadline(time.Time) error }) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = socket.SetDeadline(deadline) // a closed socket says so itself
	}
}
