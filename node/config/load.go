package config

import (
	"os"
	"slices"
	"strings"
)

// Given is a flag as the command line has it.
type Given struct {
	Field  string // name in the file
	Flag   string // as typed, without dashes
	Values []string
}

// Input is everything from which a configuration is made. Only Flags and File
// are needed for a node; the rest stands for the process's surroundings.
type Input struct {
	File  string // name of the JSON file, or empty
	Flags []Given
	// Bare is the predecessor's command line: with -m and without a file, the
	// predecessor's listening address and overlay addresses are the defaults.
	Bare     bool
	Getenv   func(string) string    // nil: os.Getenv
	Hostname func() (string, error) // nil: os.Hostname
}

// Load reads, merges and checks. Of two that say the same the flag beats the
// file and the file the default. The error is [Problems]; warnings are
// sentences for the user. Nothing outside this process changes.
func Load(in Input) (cfg Config, warnings []string, err error) {
	cfg, found, warnings, ps := read(in)
	if found == nil {
		return cfg, nil, ps // what is missing in an unreadable file is not worth a complaint
	}
	general := in.File
	if general == "" {
		general = "command line"
	}
	ps = append(ps, cfg.validate(found, general)...)
	return cfg, warnings, ps.asError()
}

// Read is Load for commands that can do with less than a node needs: what is
// missing, the key too, is no problem.
func Read(in Input) (cfg Config, warnings []string, err error) {
	cfg, _, warnings, ps := read(in)
	ps = slices.DeleteFunc(ps, func(p Problem) bool { return p == noKey })
	return cfg, warnings, ps.asError()
}

// read merges and checks each value by itself. found is nil only if the file
// cannot be read.
func read(in Input) (cfg Config, found []setting, warnings []string, ps Problems) {
	if in.Getenv == nil {
		in.Getenv = os.Getenv
	}
	if in.Hostname == nil {
		in.Hostname = os.Hostname
	}
	found = []setting{}
	var loose bool
	if in.File != "" {
		inFile, open, whole, problems := readFile(in.File)
		if !whole {
			return Default(), nil, nil, problems
		}
		found, loose, ps = append(found, inFile...), open, problems
	}
	for _, g := range in.Flags {
		f, ok := fieldNamed(g.Field)
		if !ok {
			ps.add("flag "+dashed(g.Flag), "", "sets no field")
			continue
		}
		found = append(found, setting{field: f, values: g.Values, where: "flag " + dashed(g.Flag), flag: true})
	}
	cfg = Default()
	ps = append(ps, cfg.apply(found)...)
	if in.Bare && in.File == "" && cfg.IsSet("mode") {
		cfg.predecessorDefaults()
	}
	keyWarnings, keyProblems := cfg.resolveKey(found, in.File, loose, in.Getenv)
	ps = append(ps, keyProblems...)
	if cfg.Name == "" {
		cfg.Name = nameFrom(in.Hostname)
	}
	return cfg, found, keyWarnings, ps
}

// apply runs the setters, file first. A field that a flag sets is checked in
// the file all the same.
func (c *Config) apply(found []setting) (ps Problems) {
	for _, s := range found {
		if s.flag && len(split(s.values)) == 0 {
			ps.add(s.where, "", "is empty: give a value or leave the flag out")
			continue
		}
		c.set[s.field.Name] = s.where
		if err := s.field.set(c, s.values); err != nil {
			ps.add(s.where, s.label(), "%v", err)
		}
	}
	return ps
}

// label is the field's name where the place does not name it.
func (s setting) label() string {
	if s.flag || strings.Contains(s.where, ": ") {
		return ""
	}
	return s.field.Name
}

// predecessorDefaults are what `-m server -k KEY` and `-m client -r HOST:PORT
// -k KEY` have always meant.
func (c *Config) predecessorDefaults() {
	address := "10.0.0.1/24"
	if c.Mode == Client {
		address = "10.0.0.2/24"
	} else if !c.IsSet("listen") {
		_ = setListen(c, []string{"0.0.0.0:9000"})
	}
	if !c.IsSet("addresses") {
		_ = setAddresses(c, []string{address})
	}
}

func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

// nameFrom makes a node's name of the host's.
func nameFrom(hostname func() (string, error)) string {
	h, err := hostname()
	if err != nil {
		return "node"
	}
	h, _, _ = strings.Cut(h, ".")
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, h)
	if len(clean) > 63 {
		clean = clean[:63]
	}
	if strings.Trim(clean, "-") == "" {
		return "node"
	}
	return clean
}

// given returns the last setting of a field, the one that counts.
func given(found []setting, field string) (setting, bool) {
	for _, s := range slices.Backward(found) {
		if s.field.Name == field {
			return s, true
		}
	}
	return setting{}, false
}
