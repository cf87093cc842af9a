package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// setting is a value for a field, as it was found somewhere.
type setting struct {
	field  Field
	values []string
	where  string // "file:line" or "flag --x"
	flag   bool
}

// readFile reads the fields of a JSON file. loose says that others than the
// owner may read it, whole that the text is a JSON object and was gone through
// to its end.
func readFile(name string) (found []setting, loose, whole bool, ps Problems) {
	data, loose, err := readSmall(name)
	if err != nil {
		ps.add(name, "", "%s", plain(err))
		return nil, false, false, ps
	}
	found, whole, ps = parse(name, data)
	return found, loose, whole, ps
}

// readSmall reads a file of at most maxFile bytes.
func readSmall(name string) (data []byte, loose bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, false, err
	}
	if len(data) > maxFile {
		return nil, false, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, info.Mode().IsRegular() && info.Mode().Perm()&0o044 != 0, nil
}

// plain takes the path out of an error that stands behind the path anyway.
func plain(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return fmt.Errorf("cannot %s it: %w", pe.Op, pe.Err)
	}
	return err
}

// parse finds all settings and all problems of a file's text. Fields given
// with an empty string or array count as not given, as the predecessor wrote
// them into its files.
func parse(name string, data []byte) (found []setting, whole bool, ps Problems) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	where := func(offset int64) string {
		return name + ":" + strconv.Itoa(1+bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n")))
	}
	// The whole text is checked first: after that the tokens cannot fail, and
	// offsets of syntax errors are those of the text.
	var text json.RawMessage
	if err := json.Unmarshal(data, &text); err != nil {
		at := int64(len(data))
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			at = max(se.Offset-1, 0)
		}
		ps.add(where(at), "", "not valid JSON: %v", err)
		return nil, false, ps
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, _ := dec.Token(); t != json.Delim('{') {
		ps.add(where(0), "", `want one JSON object: { "field": value, ... }`)
		return nil, false, ps
	}
	seen := map[string]string{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			break
		}
		key, _ := t.(string)
		here := where(dec.InputOffset())
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			break
		}
		f, ok := fieldNamed(key)
		if !ok {
			hint := "it is not in the list of fields in configs/README.md"
			if n := nearest(key); n != "" {
				hint = "did you mean " + n + "?"
			}
			ps.add(here, "", "unknown field %s: %s", shown(key), hint)
			continue
		}
		values, err := valuesOf(f.of(), raw)
		if err != nil {
			ps.add(here, f.Name, "%v", err)
			continue
		}
		if len(values) == 0 {
			continue
		}
		if first, twice := seen[f.key()]; twice {
			ps.add(here, f.Name, "given twice, first at %s; keep one", first)
			continue
		}
		seen[f.key()] = here
		if f.alias {
			here += ": " + f.Name // so that later problems speak of the name in the file
		}
		found = append(found, setting{field: f.of(), values: values, where: here})
	}
	return found, true, ps
}

// of returns the field that an alias stands for.
func (f Field) of() Field {
	if !f.alias {
		return f
	}
	target, _ := fieldNamed(f.same)
	return target
}

// valuesOf checks the JSON type and returns the value as flags would give it.
func valuesOf(f Field, raw json.RawMessage) ([]string, error) {
	wrong := fmt.Errorf("is %s, want %s", typeOf(raw), f.Kind)
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, wrong
		}
		if f.Kind != Text && f.Kind != List && f.Kind != Size {
			return nil, wrong
		}
		if s == "" {
			return nil, nil
		}
		return []string{s}, nil
	case '[':
		if f.Kind != List {
			return nil, wrong
		}
		list, ok := stringsOf(raw)
		if !ok {
			return nil, fmt.Errorf("is an array with something else than strings, want %s", f.Kind)
		}
		return list, nil
	case 't', 'f':
		if f.Kind != Switch {
			return nil, wrong
		}
	case '{', 'n':
		return nil, wrong
	default:
		if f.Kind != Number && f.Kind != Size {
			return nil, wrong
		}
		if bytes.ContainsAny(raw, ".eE") {
			return nil, fmt.Errorf("is %s, want %s", raw, f.Kind)
		}
	}
	return []string{string(raw)}, nil
}

// stringsOf reads an array of strings; json alone would take null for "".
func stringsOf(raw json.RawMessage) ([]string, bool) {
	var list []*string
	if json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	all := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			return nil, false
		}
		if *s != "" {
			all = append(all, *s)
		}
	}
	return all, true
}

func typeOf(raw json.RawMessage) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '[':
		return "an array"
	case '{':
		return "an object"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}
