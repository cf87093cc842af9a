package config

import "strings"

// Kind is how a field is written in the file, and what its flag looks like.
type Kind uint8

// The kinds of field.
const (
	Text   Kind = iota // a JSON string
	Number             // a whole JSON number
	Switch             // true or false
	List               // an array of strings, or one string with commas
	Size               // a number of bytes, or a string like "40M"
)

func (k Kind) String() string {
	switch k {
	case Number:
		return "a whole number"
	case Switch:
		return "true or false"
	case List:
		return "an array of strings"
	case Size:
		return `a size such as "40M"`
	}
	return "a string"
}

// Field is one thing that can be configured.
type Field struct {
	Name    string   // in the file
	Flags   []string // without dashes, the one to show first; empty: file only
	Kind    Kind
	Section string // heading in the help
	Usage   string // one line for the help, without the default
	Default string // for the help; empty: none
	Value   string // placeholder for the help

	alias      bool // another name of the field given by same
	same       string
	serverOnly bool // has no meaning in a node that takes no clients
	set        func(*Config, []string) error
}

// Flag is the flag as the user types it, or empty.
func (f Field) Flag() string {
	if len(f.Flags) == 0 {
		return ""
	}
	return "--" + f.Flags[0]
}

// key is the name under which all names of the field are known.
func (f Field) key() string {
	if f.alias {
		return f.same
	}
	return f.Name
}

// Fields is the table of all fields, in the order of the help. The caller may
// keep it and must not change it.
func Fields() []Field { return fields }

func fieldNamed(name string) (Field, bool) {
	for _, f := range fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// nearest returns the field name that was probably meant, or "".
func nearest(name string) string {
	best, least := "", 4
	for _, f := range fields {
		if d := distance(strings.ToLower(name), f.Name); d < least {
			best, least = f.Name, d
		}
	}
	return best
}

// distance is the Levenshtein distance, names being short.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
