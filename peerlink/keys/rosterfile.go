package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const rosterFile = "roster.json"

// RosterBook is the roster on disk and in memory. It outlives restarts of the
// [Manager], which alone changes it; everybody may read [RosterBook.Roster].
type RosterBook struct {
	dir *StateDir
	now atomic.Pointer[Roster]
}

// storedRoster is roster.json.
type storedRoster struct {
	Version int     `json:"version"`
	Nodes   []Entry `json:"nodes"`
}

// OpenRosterBook reads the roster in dir; a missing file is an empty roster. A
// damaged one is an error, not an empty roster: with all bindings gone, whoever
// came first could take over the address of any other node. As the file is
// replaced whole, damage means that something else wrote to it.
func OpenRosterBook(dir *StateDir) (*RosterBook, error) {
	b := &RosterBook{dir: dir}
	b.now.Store(&Roster{})
	data, err := os.ReadFile(dir.Path(rosterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read roster: %w", err)
	}
	r, err := parseRoster(data)
	if err != nil {
		return nil, fmt.Errorf("roster file %s is damaged (%w): restore it from a backup, or remove it to bind every address anew to the node that comes first",
			dir.Path(rosterFile), err)
	}
	b.now.Store(&r)
	return b, nil
}

// Roster is the newest roster. It never blocks.
func (b *RosterBook) Roster() Roster { return *b.now.Load() }

// Path is the file that the roster is kept in.
func (b *RosterBook) Path() string { return b.dir.Path(rosterFile) }

// save writes the newest roster to disk; it blocks for as long as the disk does.
func (b *RosterBook) save() error {
	data, err := encodeRoster(b.Roster())
	if err != nil {
		return err
	}
	return b.dir.Write(rosterFile, data)
}

func encodeRoster(r Roster) ([]byte, error) {
	data, err := json.MarshalIndent(storedRoster{Version: 1, Nodes: r.Entries()}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode roster: %w", err)
	}
	return append(data, '\n'), nil
}

func parseRoster(data []byte) (Roster, error) {
	var s storedRoster
	if err := json.Unmarshal(data, &s); err != nil {
		return Roster{}, err
	}
	if s.Version != 1 {
		return Roster{}, fmt.Errorf("version %d, this program knows 1", s.Version)
	}
	if len(s.Nodes) > maxRoster {
		return Roster{}, fmt.Errorf("%d nodes, at most %d", len(s.Nodes), maxRoster)
	}
	r := newRoster(len(s.Nodes))
	for i, e := range s.Nodes {
		if err := message.CheckName(e.Name); err != nil {
			return Roster{}, fmt.Errorf("node %d: %w", i+1, err)
		}
		if _, twice := r.nodes[e.ID]; twice || e.ID.IsZero() {
			return Roster{}, fmt.Errorf("node %d: id %s is missing or stands there twice", i+1, e.ID.Brief())
		}
		if len(e.Addresses) == 0 || len(e.Addresses) > message.MaxAddresses {
			return Roster{}, fmt.Errorf("node %d: %d addresses, want 1 to %d", i+1, len(e.Addresses), message.MaxAddresses)
		}
		for _, p := range e.Addresses {
			if why := unusable(p); why != "" {
				return Roster{}, fmt.Errorf("node %d: address %s %s", i+1, p, why)
			}
			if other, taken := r.Holder(p.Addr()); taken {
				return Roster{}, fmt.Errorf("node %d: address %s is bound to %s already", i+1, p.Addr(), other.Label())
			}
		}
		r.put(e)
	}
	return r, nil
}
