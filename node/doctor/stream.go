package doctor

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
)

// stream is what a TCP connection to a seed shows.
type stream struct {
	err    error // of connecting
	rtt    time.Duration
	mapped netip.AddrPort // this end as the seed sees it; not valid: it did not answer
}

const (
	connectTime = 3 * time.Second
	// record is the prefix of each datagram: a record of TLS 1.2 (RFC 5246, 6.2.1).
	record = 5
)

// connect opens an ordinary TCP connection, which fake TCP answers as any host
// would, and asks the STUN question in it if seal is not nil. The kernel's own TCP
// serves: nothing of this host has to be guarded for that.
func connect(ctx context.Context, to netip.AddrPort, s *sealing) (got stream) {
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(limited, "tcp", to.String())
	got.rtt = time.Since(began)
	if err != nil {
		got.err = err
		return got
	}
	defer conn.Close()
	if s == nil {
		return got
	}
	_ = conn.SetDeadline(time.Now().Add(askTime))
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if mapped, err := s.askStream(conn); err == nil {
		got.mapped = mapped
	}
	return got
}

// askStream asks once: TCP does the repeating.
func (s *sealing) askStream(conn io.ReadWriter) (netip.AddrPort, error) {
	m := nat.Message{Class: nat.Request, ID: stun.NewTransactionID(), Time: time.Now()}
	datagram := s.seal(m.Append(nil), 1200)
	framed := binary.BigEndian.AppendUint16([]byte{0x17, 0x03, 0x03}, uint16(len(datagram)))
	if _, err := conn.Write(append(framed, datagram...)); err != nil {
		return netip.AddrPort{}, err
	}
	in := bufio.NewReader(conn)
	for {
		var prefix [record]byte
		if _, err := io.ReadFull(in, prefix[:]); err != nil {
			return netip.AddrPort{}, err
		}
		if prefix[0] != 0x17 || prefix[1] != 0x03 {
			return netip.AddrPort{}, fmt.Errorf("%w: what is there speaks something else", errSilent)
		}
		body := make([]byte, binary.BigEndian.Uint16(prefix[3:]))
		if _, err := io.ReadFull(in, body); err != nil {
			return netip.AddrPort{}, err
		}
		answer, err := nat.ParseMessage(s.open(body))
		if err == nil && answer.Class == nat.Success && answer.ID == m.ID {
			return answer.Mapped, nil
		}
	}
}
