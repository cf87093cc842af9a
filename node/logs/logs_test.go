package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// pipe returns a file to log to and a function that reads what arrived.
func pipe(t *testing.T) (w *os.File, text func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return w, func() string {
		w.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
}

// fakeJournal is a socket that takes what the sink sends.
func fakeJournal(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, name
}

func TestFormatsAndLevels(t *testing.T) {
	for _, tt := range []struct {
		format, level, want, without string
	}{
		{"text", "", "[INFO]  link: up: peer=fra", "more"},
		{"auto", "debug", "[DEBUG] link: more", ""},
		{"json", "info", `"@module":"link"`, "more"},
		{"text", "error", "", "up"},
		{"text", "off", "", "up"},
	} {
		w, text := pipe(t)
		log, _, err := New(Options{Format: tt.format, Level: tt.level, Output: w, Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		log.Named("link").Info("up", "peer", "fra")
		log.Named("link").Debug("more")
		got := text()
		if !strings.Contains(got, tt.want) || tt.without != "" && strings.Contains(got, tt.without) {
			t.Errorf("%s %s: got %q", tt.format, tt.level, got)
		}
		if tt.format == "json" && !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %q", got)
		}
	}
	for _, o := range []Options{{Format: "xml"}, {Level: "loud"}} {
		if _, _, err := New(o); err == nil || !strings.Contains(err.Error(), "want ") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestAutoTakesTheJournalOnlyIfStderrLeadsThere(t *testing.T) {
	c, socket := fakeJournal(t)
	w, text := pipe(t)
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &st); err != nil {
		t.Fatal(info, err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino):   true,
		fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false,
		"":                                     false, "junk": false, "1:x": false,
	} {
		_, journal, err := New(Options{Output: w, Socket: socket, Getenv: func(k string) string {
			return map[string]string{"JOURNAL_STREAM": stream}[k]
		}})
		if err != nil || (journal != nil) != want {
			t.Errorf("JOURNAL_STREAM=%q: journal %v, error %v", stream, journal != nil, err)
		}
	}
	c.Close()
	if got := text(); got != "" {
		t.Errorf("lines on stderr: %q", got)
	}
}

func TestEntryBytes(t *testing.T) {
	e := entry{name: "link/fra", level: hclog.Warn, message: "no answer", args: []any{
		"peer", "fra", "path", "rawtcp 203.0.113.9:9000", "reason", errors.New("a\nb"), "priority", 0, "9lives", true, "odd"}}
	want := "PRIORITY=4\nSYSLOG_IDENTIFIER=lightweight-tunnel\nACTOR=link/fra\nMESSAGE=no answer:" +
		` peer=fra path="rawtcp 203.0.113.9:9000" reason="a\nb" priority=0 9lives=true EXTRA_VALUE_AT_END=odd` + "\n" +
		"PEER=fra\nPATH=rawtcp 203.0.113.9:9000\nREASON\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\nKEY_PRIORITY=0\nKEY_9LIVES=true\nEXTRA_VALUE_AT_END=odd\n"
	if got := string(e.append(nil)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLevelsAreSyslogPriorities(t *testing.T) {
	for level, want := range map[hclog.Level]string{hclog.Trace: "7", hclog.Debug: "7", hclog.Info: "6", hclog.Warn: "4", hclog.Error: "3"} {
		if got := priority(level); got != want {
			t.Errorf("%s is %s, want %s", level, got, want)
		}
	}
}

// fields takes an entry apart as the journal does.
func fields(data []byte) (map[string]string, error) {
	all := map[string]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil, errors.New("no newline at the end")
		}
		name, value, plain := bytes.Cut(line, []byte("="))
		data = rest
		if !plain {
			if len(data) < 8 || binary.LittleEndian.Uint64(data) >= uint64(len(data)-8) {
				return nil, errors.New("a length beyond the end")
			}
			n := binary.LittleEndian.Uint64(data)
			value, data = data[8:8+n], data[8+n:]
			if data[0] != '\n' {
				return nil, errors.New("no newline behind a value")
			}
			data = data[1:]
		}
		all[string(name)] = string(value)
	}
	return all, nil
}

func FuzzEntry(f *testing.F) {
	f.Add("link", "up", "peer", "fra")
	f.Add("", "a\nb", "p=q", "1\n\n2")
	f.Add("a\nPRIORITY=0", "", "__x", "\x00")
	f.Fuzz(func(t *testing.T, name, message, key, value string) {
		e := entry{name: name, level: hclog.Info, message: message, args: []any{key, value}}
		got, err := fields(e.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got["PRIORITY"] != "6" || got["SYSLOG_IDENTIFIER"] != identifier || got["ACTOR"] != name || got[fieldName(key)] != value {
			t.Fatalf("got %q", got)
		}
		for n := range got {
			if n == "" || len(n) > 64 || strings.Trim(n, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || n[0] < 'A' || n[0] > 'Z' {
				t.Fatalf("field name %q", n)
			}
		}
	})
}

func TestAFullJournalDropsAndCountsInsteadOfWaiting(t *testing.T) {
	_, socket := fakeJournal(t)
	w, text := pipe(t)
	log, journal, err := New(Options{Format: "journal", Output: w, Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 { // nobody reads: this ends only if nothing waits
		log.Info("flood", "peer", "fra")
	}
	if journal.Dropped() == 0 {
		t.Error("no drop was counted")
	}
	if got := text(); got != "" {
		t.Errorf("lines on stderr: %q", got)
	}
}

func TestWithoutAJournalLinesGoToStderrAndNeverWait(t *testing.T) {
	w, text := pipe(t)
	log, journal, err := New(Options{Format: "journal", Output: w, Socket: filepath.Join(t.TempDir(), "nothing")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 { // more than a pipe holds, and nobody reads
		log.Named("link").Warn("no answer", "peer", "fra", "reason", strings.Repeat("x", 100))
	}
	if journal.Dropped() == 0 {
		t.Error("no drop was counted")
	}
	if got := text(); !strings.Contains(got, "[WARN] link: no answer: peer=fra reason=xxx") {
		t.Errorf("got %.200q", got)
	}
}

func TestASinkFindsAJournalThatComesBack(t *testing.T) {
	w, _ := pipe(t)
	socket := filepath.Join(t.TempDir(), "socket")
	log, _, err := New(Options{Format: "journal", Output: w, Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("before")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	log.Info("after")
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fields(buf[:n]); err != nil || got["MESSAGE"] != "after" {
		t.Errorf("got %q, %v", got, err)
	}
}
