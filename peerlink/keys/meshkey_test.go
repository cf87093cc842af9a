package keys

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
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

func TestGeneratedKeyIsParsedBackAsItIs(t *testing.T) {
	text := Generate()
	k, err := ParseMeshKey(text)
	if err != nil || base64.StdEncoding.EncodeToString(k.secret[:]) != text {
		t.Fatalf("%q: %v", text, err)
	}
	if Generate() == text {
		t.Fatal("two keys are equal")
	}
}

func FuzzDecodeKey(f *testing.F) {
	f.Add("")
	f.Add(Generate())
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

func TestKeySourcesAreTriedInOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("mesh.key", "from the file\n", 0o600)
	open := write("open.key", "from the file\n", 0o644)
	write("key", "from the credential", 0o644)
	env := map[string]string{EnvKey: "from the environment", "CREDENTIALS_DIRECTORY": dir}
	getenv := func(name string) string { return env[name] }

	for _, c := range []struct {
		name   string
		source KeySource
		text   string
		warn   string
	}{
		{"flag", KeySource{Text: "from the flag", CommandLine: true, File: file}, "from the flag", "--key-file"},
		{"config", KeySource{Text: "from the config", File: file}, "from the config", ""},
		{"file", KeySource{File: file}, "from the file\n", ""},
		{"open file", KeySource{File: open}, "from the file\n", "chmod 600"},
		{"environment", KeySource{}, "from the environment", ""},
	} {
		c.source.Getenv = getenv
		found, err := c.source.Find()
		if err != nil || found.Text != c.text {
			t.Errorf("%s: got %q, %v", c.name, found.Text, err)
		}
		if (c.warn == "") != (len(found.Warnings) == 0) || !strings.Contains(strings.Join(found.Warnings, ""), c.warn) {
			t.Errorf("%s: warnings %q", c.name, found.Warnings)
		}
	}
	delete(env, EnvKey)
	if found, err := (KeySource{Getenv: getenv}).Find(); err != nil || found.Text != "from the credential" || len(found.Warnings) != 0 {
		t.Errorf("credential: got %+v, %v", found, err)
	}
	delete(env, "CREDENTIALS_DIRECTORY")
	if _, _, err := (KeySource{Getenv: getenv}).Load(); err == nil || !strings.Contains(err.Error(), "--key-file") {
		t.Errorf("no key anywhere: %v", err)
	}
	if _, err := (KeySource{File: write("big", strings.Repeat("x", 1<<16), 0o600)}).Find(); err == nil {
		t.Error("a huge file is no key file")
	}
}
