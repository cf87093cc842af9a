package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// EnvKey is the environment variable that may hold the mesh key.
const EnvKey = "LIGHTWEIGHT_TUNNEL_KEY"

// credentialName is the systemd credential that may hold the mesh key
// (LoadCredential=key:FILE in a unit).
const credentialName = "key"

// KeySource says where a mesh key may come from. The first that is there wins:
// Text, File, the environment, the systemd credential.
type KeySource struct {
	Text        string // as given by flag or config file; empty: none
	CommandLine bool   // Text stood on the command line, where other users see it
	File        string // path of a key file; empty: none
	Getenv      func(string) string
}

// FoundKey is the text of a mesh key, not yet parsed, and how it was found.
type FoundKey struct {
	Text     string
	From     string   // for messages: "--key", "/etc/lt.key", "$LIGHTWEIGHT_TUNNEL_KEY", ...
	Warnings []string // sentences for the log
}

// Find returns the text of the mesh key and never its bytes in an error. It
// reads files but starts nothing.
func (s KeySource) Find() (FoundKey, error) {
	getenv := s.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	if s.Text != "" {
		found := FoundKey{Text: s.Text, From: "the config file"}
		if s.CommandLine {
			found.From = "--key"
			found.Warnings = []string{"the mesh key is on the command line, where every user of this machine can see it: use --key-file"}
		}
		return found, nil
	}
	if s.File != "" {
		return readKeyFile(s.File, true)
	}
	if text := getenv(EnvKey); text != "" {
		return FoundKey{Text: text, From: "$" + EnvKey}, nil
	}
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		// systemd owns this file and its mode (0400 or 0440), so no warning.
		found, err := readKeyFile(filepath.Join(dir, credentialName), false)
		if !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
	}
	return FoundKey{}, fmt.Errorf("no mesh key: give --key-file FILE, set %s, or pass the systemd credential %q; %s",
		EnvKey, credentialName, remedy)
}

// Load finds the mesh key and parses it.
func (s KeySource) Load() (MeshKey, FoundKey, error) {
	found, err := s.Find()
	if err != nil {
		return MeshKey{}, FoundKey{}, err
	}
	key, err := ParseMeshKey(found.Text)
	if err != nil {
		return MeshKey{}, FoundKey{}, fmt.Errorf("mesh key from %s: %w", found.From, err)
	}
	return key, found, nil
}

func readKeyFile(path string, private bool) (FoundKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return FoundKey{}, fmt.Errorf("read key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return FoundKey{}, fmt.Errorf("read key file %s: %w", path, err)
	}
	// Bounded, so that a wrong path (a device, a disk image) is an error and
	// not a full memory.
	text, err := io.ReadAll(io.LimitReader(f, maxKeyText+1))
	if err != nil {
		return FoundKey{}, fmt.Errorf("read key file %s: %w", path, err)
	}
	if len(text) > maxKeyText {
		return FoundKey{}, fmt.Errorf("key file %s is larger than %d bytes: is it a key file?", path, maxKeyText)
	}
	found := FoundKey{Text: string(text), From: path}
	if private && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		found.Warnings = []string{fmt.Sprintf("key file %s can be read by other users (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)}
	}
	return found, nil
}
