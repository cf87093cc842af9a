package gossip

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// memberName is how memberlist knows one node at one place: "<id>@<addr:port>".
// The place is part of the name, because memberlist refuses a member that
// changes its address until the old one was declared dead: this way a node with
// a new address is a new member at once, and the old one just dies.
type memberName struct {
	id    message.NodeID
	place netip.AddrPort
}

func (n memberName) String() string { return n.id.String() + "@" + n.place.String() }

func parseMemberName(text string) (memberName, error) {
	hexID, place, ok := strings.Cut(text, "@")
	if !ok {
		return memberName{}, errors.New("member name: no @")
	}
	var n memberName
	if err := n.id.UnmarshalText([]byte(hexID)); err != nil {
		return memberName{}, fmt.Errorf("member name: %w", err)
	}
	var err error
	if n.place, err = netip.ParseAddrPort(place); err != nil {
		return memberName{}, fmt.Errorf("member name: %w", err)
	}
	// One spelling only, so that names can be compared as text.
	if n.String() != text {
		return memberName{}, errors.New("member name: not in its canonical form")
	}
	return n, nil
}

// node is what memberlist needs to send to n.
func (n memberName) node() *memberlist.Node {
	return &memberlist.Node{Name: n.String(), Addr: net.IP(n.place.Addr().AsSlice()), Port: n.place.Port()}
}

// memberMeta is what memberlist carries with each alive message: proof that the
// node itself says that it is at the place in its name.
//
//	| signature 64 | run 8 | version 0..64 |
//
// The signature covers everything behind it and the member's name. run is the
// Unix time in milliseconds at which this run of the node began, big endian.
type memberMeta struct {
	run     int64
	version string
}

const (
	metaDomain = "lightweight-tunnel member v1\x00"
	metaFixed  = ed25519.SignatureSize + 8
)

func (m memberMeta) seal(key ed25519.PrivateKey, name memberName) []byte {
	body := append(binary.BigEndian.AppendUint64(nil, uint64(m.run)), m.version...)
	return append(ed25519.Sign(key, metaSigned(name, body)), body...)
}

func openMemberMeta(data []byte, name memberName) (memberMeta, error) {
	if len(data) < metaFixed || len(data) > metaFixed+message.MaxName {
		return memberMeta{}, fmt.Errorf("member meta has %d bytes", len(data))
	}
	sig, body := data[:ed25519.SignatureSize], data[ed25519.SignatureSize:]
	if !ed25519.Verify(name.id[:], metaSigned(name, body), sig) {
		return memberMeta{}, errors.New("member meta: bad signature")
	}
	return memberMeta{run: int64(binary.BigEndian.Uint64(body)), version: string(body[8:])}, nil
}

func metaSigned(name memberName, body []byte) []byte {
	return append([]byte(metaDomain+name.String()+"\x00"), body...)
}
