package peerlink

import (
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
)

// stunPath is a path that a STUN message came by.
type stunPath struct{ packet.Path }

func TestSTUNOfTheMeshReachesTheProber(t *testing.T) {
	box := actors.NewMailbox[nat.ToProber]("nat", 1)
	d, _ := bare(t)
	d.cfg.STUN = box.Ref()
	body := nat.Message{Class: nat.Request, ID: nat.TransactionID{1, 2}}.Append(nil)
	datagram := d.SealSTUN(body, 1200)
	if len(datagram) > 1200 {
		t.Errorf("%d bytes", len(datagram))
	}
	path := &stunPath{}
	take := func() bool {
		b := append([]byte(nil), datagram...)
		if _, err := d.Unmask(b); err != nil {
			t.Fatal(err)
		}
		taken := d.Handshake(b, path)
		clear(b) // the transport's buffer is used again
		return taken
	}
	if !take() {
		t.Fatal("the message was not taken")
	}
	if take() {
		t.Error("a full mailbox took one more")
	}
	h, ok := (<-box.C()).(nat.Heard)
	if !ok || !h.Mesh || h.Path != packet.Path(path) {
		t.Fatalf("got %+v", h)
	}
	if m, err := nat.ParseMessage(h.Message); err != nil || m.ID != (nat.TransactionID{1, 2}) {
		t.Errorf("got %+v, %v", m, err)
	}
	datagram[len(datagram)-1] ^= 1
	if before := d.Undecipherable(); take() || d.Undecipherable() != before+1 {
		t.Error("a message without the mesh key was taken")
	}
}

func TestWithoutAProberSTUNIsJunk(t *testing.T) {
	d, _ := bare(t)
	b := d.SealSTUN([]byte("question"), 1200)
	if _, err := d.Unmask(b); err != nil {
		t.Fatal(err)
	}
	if d.Handshake(b, &stunPath{}) {
		t.Error("taken by nobody")
	}
}
