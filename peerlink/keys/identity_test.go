package keys

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openDir(t testing.TB, path string) *StateDir {
	t.Helper()
	d, err := OpenStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func seeded(b byte) Identity {
	return identityOf(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(b)), 32))))
}

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	dir := openDir(t, t.TempDir())
	first, made, err := LoadIdentity(dir, day)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	info, err := os.Stat(dir.Path(identityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, made, err := LoadIdentity(dir, day)
	if err != nil || made || again.ID() != first.ID() || !again.Signer().Equal(first.Signer()) {
		t.Fatalf("second start: made %v, %v", made, err)
	}
}

func TestDamagedIdentityIsAnErrorAndStaysAsItIs(t *testing.T) {
	dir := openDir(t, t.TempDir())
	whole, err := seeded('a').encode(day)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := seeded('b').encode(day)
	bad := [][]byte{[]byte("{}"), []byte("junk"), append(whole, 'x')}
	for n := range len(whole) - 1 { // the last byte is a newline
		bad = append(bad, whole[:n])
	}
	bad = append(bad, []byte(strings.Replace(string(whole), seeded('a').ID().String(), seeded('b').ID().String(), 1)),
		[]byte(strings.Replace(string(other), `"version": 1`, `"version": 2`, 1)))
	for _, data := range bad {
		if err := os.WriteFile(dir.Path(identityFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, made, err := LoadIdentity(dir, day)
		if err == nil || made || !strings.Contains(err.Error(), dir.Path(identityFile)) || !strings.Contains(err.Error(), "remove it") {
			t.Fatalf("%q: made %v, %v", data, made, err)
		}
		if now, _ := os.ReadFile(dir.Path(identityFile)); string(now) != string(data) {
			t.Fatal("the damaged file was changed")
		}
	}
}

func TestStaticKeyIsTheSamePointInMontgomeryForm(t *testing.T) {
	a, b := seeded('a'), seeded('b')
	privA, pubA := a.Static()
	privB, pubB := b.Static()
	for _, c := range []struct {
		id        Identity
		priv, pub [32]byte
	}{{a, privA, pubA}, {b, privB, pubB}} {
		k, err := ecdh.X25519().NewPrivateKey(c.priv[:])
		if err != nil || [32]byte(k.PublicKey().Bytes()) != c.pub {
			t.Fatalf("public key does not belong to the private one: %v", err)
		}
		if of, err := StaticOf(c.id.ID()); err != nil || of != c.pub {
			t.Fatalf("StaticOf: %x, %v", of, err)
		}
	}
	if pubA == pubB {
		t.Fatal("two nodes have one key")
	}
}

func TestStaticOfRefusesWhatIsNoKey(t *testing.T) {
	small := message.NodeID{1} // the identity point, order 1
	four := message.NodeID{}   // y = 0, order 4
	off := message.NodeID{2}   // not on the curve
	var spelled message.NodeID // y = p + 1, another spelling of the identity point
	for i := range spelled {
		spelled[i] = 0xff
	}
	spelled[0], spelled[31] = 0xee, 0x7f
	for _, id := range []message.NodeID{small, four, off, spelled} {
		if _, err := StaticOf(id); err == nil {
			t.Errorf("%s was taken", id)
		}
	}
}

func TestIdentityShowsItsPublicHalfOnly(t *testing.T) {
	id := seeded('a')
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		if got := fmt.Sprintf(verb, id); got != id.ID().Brief() {
			t.Errorf("%s shows %q", verb, got)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	whole, _ := seeded('a').encode(day)
	f.Add(whole)
	f.Add([]byte(`{"version":1,"seed":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := parseIdentity(data)
		if err != nil {
			return
		}
		again, err := id.encode(day)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseIdentity(again); err != nil || back.ID() != id.ID() {
			t.Fatalf("%v", err)
		}
	})
}

func FuzzStaticOf(f *testing.F) {
	id := seeded('a').ID()
	f.Add(id[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 32 {
			return
		}
		if pub, err := StaticOf(message.NodeID(b)); err == nil && pub == [32]byte{} {
			t.Fatal("an all-zero key agrees with everybody")
		}
	})
}
