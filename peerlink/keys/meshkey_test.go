package keys

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestMeshKeyOf32Base64BytesIsUsedAsItIs(t *testing.T) {
	var raw [32]byte
	for i := range raw {
		raw[i] = byte(0xf8 + i) // has + and / in base64
	}
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(raw[:]),
		base64.RawStdEncoding.EncodeToString(raw[:]),
		base64.URLEncoding.EncodeToString(raw[:]),
		"  " + base64.StdEncoding.EncodeToString(raw[:]) + "\r\n",
	} {
		k, err := ParseMeshKey(text)
		if err != nil || k.secret != raw {
			t.Errorf("%q: got %x, %v", text, k.secret, err)
		}
	}
}

func TestMeshKeyPassphraseGoesThroughArgon2id(t *testing.T) {
	// Golden: a change here locks every mesh with a passphrase out.
	k, err := ParseMeshKey("correct horse battery staple\n")
	if err != nil {
		t.Fatal(err)
	}
	const want = "a431f5c154a3a501c7e21b8f4c6d3709203362c17c65197f68a8ea5bb9a79ecb"
	if got := hex.EncodeToString(k.secret[:]); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestMeshKeyDerivesOneKeyForEachLabel(t *testing.T) {
	k := MeshKey{secret: [32]byte{1, 2, 3}}
	a, b := k.Derive("gossip"), k.Derive("handshake")
	if a == b || a == k.secret || a != k.Derive("gossip") {
		t.Fatal("derived keys must differ by label only")
	}
	const want = "8e72c22ba4900648f45f4e3521ff2822fa82ef62d14e02c6b4e69b2e9cefd6e8"
	if got := hex.EncodeToString(a[:]); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestMeshKeyErrorsNameTheRemedyAndNeverTheKey(t *testing.T) {
	for _, text := range []string{"", " \n", "secret7", strings.Repeat("k", 5000)} {
		_, err := ParseMeshKey(text)
		if err == nil {
			t.Errorf("%.10q must be refused", text)
			continue
		}
		if !strings.Contains(err.Error(), "genkey") || len(text) > 3 && strings.Contains(err.Error(), text) {
			t.Errorf("%.10q: %v", text, err)
		}
	}
}

func TestMeshKeyIsNotShownByPrinting(t *testing.T) {
	k := MeshKey{secret: [32]byte{0xab, 0xcd}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "(mesh key)" {
			t.Errorf("%s shows %q", verb, got)
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	f.Add("")
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Add(strings.Repeat("A", 43))
	f.Add("correct horse battery staple")
	f.Fuzz(func(t *testing.T, text string) {
		secret, ok := decodeKey(text)
		if !ok {
			return
		}
		bare := strings.TrimRight(text, "=")
		if base64.RawStdEncoding.EncodeToString(secret[:]) != bare && base64.RawURLEncoding.EncodeToString(secret[:]) != bare {
			t.Fatalf("%q is a second spelling of %x", text, secret)
		}
	})
}
