package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// identityFile is where a node's key pair lives inside its state directory.
const identityFile = "identity.json"

// Identity is a node's own key pair. It both signs (Ed25519) and agrees keys
// ([Identity.Static]). Printing it shows the public half only.
type Identity struct {
	id  message.NodeID
	key ed25519.PrivateKey
}

// storedIdentity is identity.json. The id is there for people, and guards
// against a seed that was damaged by hand.
type storedIdentity struct {
	Version int            `json:"version"`
	ID      message.NodeID `json:"id"`
	Seed    []byte         `json:"seed"`
	Created time.Time      `json:"created"`
}

// NewIdentity makes a key pair.
func NewIdentity() (Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make identity: %w", err)
	}
	return identityOf(key), nil
}

func identityOf(key ed25519.PrivateKey) Identity {
	return Identity{id: message.NodeID(key.Public().(ed25519.PublicKey)), key: key}
}

// LoadIdentity returns the identity of the node that lives in dir, and makes one
// (made is true) at its first start. A file that cannot be understood is an
// error and stays as it is: a new key pair would lose the node's address, which
// the whole mesh has bound to the old one.
func LoadIdentity(dir *StateDir, now time.Time) (id Identity, made bool, err error) {
	data, err := os.ReadFile(dir.Path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		id, err = NewIdentity()
		if err != nil {
			return Identity{}, false, err
		}
		data, err := id.encode(now)
		if err != nil {
			return Identity{}, false, err
		}
		return id, true, dir.Write(identityFile, data)
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("read identity: %w", err)
	}
	id, err = parseIdentity(data)
	if err != nil {
		return Identity{}, false, fmt.Errorf("identity file %s is damaged (%w): restore it from a backup, or remove it to start as a new node, which then needs another --address",
			dir.Path(identityFile), err)
	}
	return id, false, nil
}

func (id Identity) encode(now time.Time) ([]byte, error) {
	data, err := json.MarshalIndent(storedIdentity{Version: 1, ID: id.id, Seed: id.key.Seed(), Created: now.UTC().Truncate(time.Second)}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	return append(data, '\n'), nil
}

func parseIdentity(data []byte) (Identity, error) {
	var s storedIdentity
	if err := json.Unmarshal(data, &s); err != nil {
		return Identity{}, err
	}
	if s.Version != 1 {
		return Identity{}, fmt.Errorf("version %d, this program knows 1", s.Version)
	}
	if len(s.Seed) != ed25519.SeedSize {
		return Identity{}, fmt.Errorf("seed of %d bytes, want %d", len(s.Seed), ed25519.SeedSize)
	}
	id := identityOf(ed25519.NewKeyFromSeed(s.Seed))
	if id.id != s.ID {
		return Identity{}, errors.New("the id does not belong to the seed")
	}
	return id, nil
}

// ID is the node's name to all others: its Ed25519 public key.
func (id Identity) ID() message.NodeID { return id.id }

// Signer is the private key, for signing adverts. It is not to be changed.
func (id Identity) Signer() ed25519.PrivateKey { return id.key }

// String shows the public half.
func (id Identity) String() string { return id.id.Brief() }

// Format keeps the private half out of every verb of fmt.
func (id Identity) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(id.String())) }
