package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// identifier is the journal's SYSLOG_IDENTIFIER: what `journalctl -t` finds.
const identifier = "lightweight-tunnel"

// entry is one log line before it has a form.
type entry struct {
	name    string // of the actor
	level   hclog.Level
	message string
	args    []any // key, value, key, value...
}

// append encodes e behind dst for the journal:
//
//	KEY=value\n                                  if the value has no newline
//	KEY\n | length, 8 bytes little endian | value\n   if it has
func (e entry) append(dst []byte) []byte {
	dst = appendField(dst, "PRIORITY", priority(e.level))
	dst = appendField(dst, "SYSLOG_IDENTIFIER", identifier)
	if e.name != "" {
		dst = appendField(dst, "ACTOR", e.name)
	}
	dst = appendField(dst, "MESSAGE", e.text())
	for i := 0; i < len(e.args); i += 2 {
		key, value := e.pair(i)
		name := fieldName(key)
		if name == "KEY_ACTOR" && e.name == "" {
			name = "ACTOR" // the root speaks of one of its actors
		}
		dst = appendField(dst, name, value)
	}
	return dst
}

// text is the message with its keys, so that plain journalctl shows them too.
func (e entry) text() string {
	if len(e.args) == 0 {
		return e.message
	}
	var b strings.Builder
	b.WriteString(e.message)
	b.WriteByte(':')
	for i := 0; i < len(e.args); i += 2 {
		key, value := e.pair(i)
		b.WriteByte(' ')
		b.WriteString(key)
		b.WriteByte('=')
		if value == "" || strings.ContainsAny(value, " \t\"=\n") {
			value = strconv.Quote(value)
		}
		b.WriteString(value)
	}
	return b.String()
}

// line is e for a terminal, as hclog writes it.
func (e entry) line() []byte {
	name := e.name
	if name != "" {
		name += ": "
	}
	return fmt.Appendf(nil, "%s [%s] %s%s\n", time.Now().Format(hclog.TimeFormat), strings.ToUpper(e.level.String()), name, e.text())
}

// pair returns the key and value at i. A value without a key is shown, not lost.
func (e entry) pair(i int) (key, value string) {
	if i+1 == len(e.args) {
		return hclog.MissingKey, shown(e.args[i])
	}
	key, ok := e.args[i].(string)
	if !ok {
		key = fmt.Sprint(e.args[i])
	}
	return key, shown(e.args[i+1])
}

// shown is a value as hclog's text form has it.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		return fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...)
	case []byte:
		return fmt.Sprintf("%x", v)
	}
	return fmt.Sprint(v) // also survives a String method that panics
}

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	if !strings.Contains(value, "\n") {
		dst = append(dst, '=')
		dst = append(dst, value...)
		return append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	dst = append(dst, value...)
	return append(dst, '\n')
}

// fieldName makes a field name of any key: upper case, digits, underscores,
// starting with a letter, at most 64 bytes. Fields that this package sets
// itself cannot be taken by a key.
func fieldName(key string) string {
	name := bytes.ToUpper([]byte(key))
	for i, c := range name {
		if !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			name[i] = '_'
		}
	}
	name = bytes.TrimLeft(name, "_")
	if len(name) == 0 || name[0] <= '9' {
		name = append([]byte("KEY_"), name...)
	}
	name = name[:min(len(name), 60)]
	switch string(name) {
	case "PRIORITY", "SYSLOG_IDENTIFIER", "ACTOR", "MESSAGE":
		name = append([]byte("KEY_"), name...)
	}
	return string(name)
}

// priority is the syslog level (RFC 5424 section 6.2.1) of an hclog level.
func priority(l hclog.Level) string {
	switch l {
	case hclog.Trace, hclog.Debug:
		return "7"
	case hclog.Warn:
		return "4"
	case hclog.Error:
		return "3"
	}
	return "6"
}
