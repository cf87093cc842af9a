package config

import (
	"encoding/base64"
	"path/filepath"
	"strings"
)

const (
	// EnvKey is the environment variable that may hold the mesh key.
	EnvKey = "LIGHTWEIGHT_TUNNEL_KEY"

	placeholderKey = "CHANGE-ME"
	shortKey       = 12 // characters: below this a passphrase is guessed too soon
)

// noKey is the problem of a node without a key.
var noKey = Problem{Where: "mesh key", Text: "there is none; make one with `lightweight-tunnel genkey > FILE` and pass --key-file FILE to every node"}

// resolveKey takes the mesh key from the first of these that has one:
//
//  1. the flag --key or --key-file (both together are an error)
//  2. the environment variable LIGHTWEIGHT_TUNNEL_KEY
//  3. the systemd credential `key` (file $CREDENTIALS_DIRECTORY/key)
//  4. the field key_file or key of the file (both together are an error)
func (c *Config) resolveKey(found []setting, file string, loose bool, getenv func(string) string) (warnings []string, ps Problems) {
	var fromFlags, fromFile []setting
	for _, s := range found {
		if s.field.Name != "key" && s.field.Name != "key_file" {
			continue
		}
		if s.flag {
			fromFlags = append(fromFlags, s)
		} else {
			fromFile = append(fromFile, s)
		}
	}
	for _, same := range [][]setting{fromFlags, fromFile} {
		if len(same) == 2 && same[0].field.Name != same[1].field.Name {
			ps.add(same[1].where, same[1].label(), "there is a key at %s already; give only one of the two", same[0].where)
		}
	}
	if s, ok := given(fromFile, "key"); ok && loose && len(s.values) > 0 {
		warnings = append(warnings, file+" holds the key and can be read by other users; to mend it: chmod 600 "+file)
	}
	if len(ps) > 0 {
		return warnings, ps
	}
	credentials := getenv("CREDENTIALS_DIRECTORY")
	switch {
	case len(fromFlags) > 0:
		s := fromFlags[len(fromFlags)-1]
		if s.field.Name == "key" {
			warnings = append(warnings, "the key on the command line can be seen by every user of this machine (ps); use --key-file FILE or the variable "+EnvKey)
		}
		warnings = append(warnings, c.keyFrom(s, &ps)...)
	case getenv(EnvKey) != "":
		c.Key, c.KeySource = NewSecret(strings.TrimSpace(getenv(EnvKey))), "environment variable "+EnvKey
	case credentials != "" && c.keyFromCredential(filepath.Join(credentials, "key")):
	case len(fromFile) > 0:
		s := fromFile[len(fromFile)-1]
		if s.field.Name == "key_file" && len(s.values) > 0 && !filepath.IsAbs(one(s.values)) {
			// Relative to the file, not to wherever systemd started us.
			s.values = []string{filepath.Join(filepath.Dir(file), one(s.values))}
		}
		warnings = append(warnings, c.keyFrom(s, &ps)...)
	}
	switch key := c.Key.Reveal(); {
	case len(ps) > 0:
	case key == "":
		ps = append(ps, noKey)
	case strings.HasPrefix(key, placeholderKey):
		ps.add("mesh key", "", "it is still the template's placeholder (from %s); replace it with the output of `lightweight-tunnel genkey`", c.KeySource)
	case len(key) < shortKey:
		warnings = append(warnings, "the key is shorter than a good passphrase and can be guessed; make one with `lightweight-tunnel genkey`")
	}
	return warnings, ps
}

// keyFrom takes the key from a setting of key or key_file.
func (c *Config) keyFrom(s setting, ps *Problems) (warnings []string) {
	if s.field.Name == "key" {
		c.Key, c.KeySource = NewSecret(strings.TrimSpace(one(s.values))), s.where
		return nil
	}
	name := one(s.values)
	data, loose, err := readSmall(name)
	if err != nil {
		ps.add(s.where, s.label(), "%s: %v", name, plain(err))
		return nil
	}
	c.Key, c.KeySource = NewSecret(strings.TrimSpace(string(data))), name
	switch {
	case c.Key.IsZero():
		ps.add(s.where, s.label(), "%s: the file is empty; fill it with `lightweight-tunnel genkey`", name)
	case strings.ContainsAny(c.Key.Reveal(), "\n\x00"):
		ps.add(s.where, s.label(), "%s: want one line of text, such as `lightweight-tunnel genkey` prints", name)
	}
	if loose {
		warnings = append(warnings, name+" holds the key and can be read by other users; to mend it: chmod 600 "+name)
	}
	return warnings
}

// keyFromCredential says whether systemd handed over a key.
func (c *Config) keyFromCredential(name string) bool {
	data, _, err := readSmall(name)
	if err != nil || len(strings.TrimSpace(string(data))) == 0 {
		return false
	}
	c.Key, c.KeySource = NewSecret(strings.TrimSpace(string(data))), "systemd credential key"
	return true
}

// NewKey prints random bytes as a key: 32 of them give the strength of AES-256.
func NewKey(random [32]byte) string {
	return base64.StdEncoding.EncodeToString(random[:])
}
