package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestAWrongKeyIsSaidOnBothSidesAndHurtsNobodyElse(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	const words = "Decryption error (wrong key?)"
	seed := m.seed()
	m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))

	own := m.keyFile
	m.keyFile += "-wrong"
	m.newKey(m.keyFile)
	stranger := m.site(2)
	m.keyFile = own
	must(t, stranger.Says(m.ctx, words))
	must(t, seed.Says(m.ctx, words))
	m.reaches(m.Sites[0].Namespace, ip4(1))
	if _, err := m.Sites[1].Ping(m.ctx, ip4(1), 3, 0.2); err == nil {
		t.Error("a node with the wrong key reaches the seed")
	}
	// It keeps trying; saying it again and again would drown the log.
	if said := strings.Count(stranger.Log(), words); said != 1 {
		t.Errorf("the stranger said it %d times", said)
	}
	if said := strings.Count(seed.Log(), words); said != 1 {
		t.Errorf("the seed said it %d times", said)
	}
}

func TestASecondNodeWithTheSameAddressIsToldWhoHoldsIt(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	m.seed()
	m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))
	late := m.run(m.Sites[1].Namespace, "late", 2, "--seed", lab.ServerIPv4+":9000")
	must(t, late.Says(m.ctx, siteName(1)))
	// The holder keeps the address and its traffic.
	_, err := lab.Transfer(m.ctx, m.Server, m.Sites[0].Namespace, ip4(2), 1<<20)
	must(t, err)
	if _, err := m.Sites[1].Ping(m.ctx, ip4(1), 3, 0.2); err == nil {
		t.Error("the second claimant reaches the seed")
	}
}

// Of the seed's own address it is the claimant who finds out.
func TestANodeWithTheSeedsAddressIsToldWhoHoldsIt(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	m.seed()
	m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))
	late := m.run(m.Sites[1].Namespace, "late", 1, "--seed", lab.ServerIPv4+":9000")
	must(t, late.Says(m.ctx, ip4(1)+" is the own address of late"))
	must(t, lab.Until(m.ctx, "the status says so", func() error {
		status, err := late.Status(m.ctx)
		if err == nil && (status.Healthy || !strings.Contains(strings.Join(status.Problems, " "), "choose another --address")) {
			err = fmt.Errorf("the problems are %q", status.Problems)
		}
		return err
	}))
	_, err := lab.Transfer(m.ctx, m.Sites[0].Namespace, m.Server, ip4(1), 1<<20)
	must(t, err)
}

func TestAFullMeshRefusesOneMore(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	m.seed("-max-clients", "1")
	m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))
	late := m.site(2)
	must(t, late.Says(m.ctx, "full"))
	m.reaches(m.Sites[0].Namespace, ip4(1))
}

func TestAStrangersConnectionGetsNoByteBack(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 1})
	m.seed()
	m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))
	stranger, err := m.Attach(m.ctx, "stranger", 66)
	must(t, err)
	for _, words := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x17\x03\x03\x00\x40" + strings.Repeat("junk", 16), strings.Repeat("\x16\x03\x01\x02", 300)} {
		connection, err := stranger.Dial(m.within(3*time.Second), "tcp", lab.ServerIPv4+":9000")
		must(t, err)
		if words != "" {
			_, err = connection.Write([]byte(words))
			must(t, err)
		}
		must(t, connection.SetReadDeadline(time.Now().Add(700*time.Millisecond)))
		if n, _ := connection.Read(make([]byte, 100)); n > 0 {
			t.Errorf("to %q the port answered with %d bytes", words, n)
		}
		must(t, connection.Close())
	}
	m.reaches(m.Sites[0].Namespace, ip4(1))
}

func TestASecondNodeInTheSameDirectoryRefusesToStart(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{})
	first := m.seed()
	must(t, m.isAsked(m.ctx, first))
	second := m.start(m.Server, "second", lab.NodeConfig{StateDir: first.StateDir, Args: m.args("second", 9, "--listen", "0.0.0.0:9001")})
	must(t, second.Wait(m.ctx))
	if code := second.ExitCode(); code != 1 && code != 2 {
		t.Errorf("it ended with exit code %d, want 1 or 2", code)
	}
	must(t, m.isAsked(m.ctx, first))
}

// isAsked waits until a node answers about itself.
func (m *mesh) isAsked(ctx context.Context, node *lab.Node) error {
	return lab.Until(ctx, "the node answers", func() error {
		_, err := node.Status(ctx)
		return err
	})
}
