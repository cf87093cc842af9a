package impair

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Commands explains the lines that Control understands.
const Commands = `there|back|both KNOB=VALUE ...              turn knobs in one direction or both; the others stay
there|back|both vanish seen                 every flow seen so far disappears, new ones pass
there|back|both vanish tcp|udp ADDR:PORT ADDR:PORT
there|back|both heal                        end blackholes, bring vanished flows back
stats                                       counters of both directions, as one line of JSON
flows                                       packets per flow, as one line of JSON
reset                                       counters to zero, forget the flows
quit`

// Control reads commands, one a line, and answers each with one line: "ok", JSON,
// or "error: ...". It returns at the end of the input or after "quit", which is
// then true.
func Control(b *Bridge, in io.Reader, out io.Writer) (quit bool, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if words[0] == "quit" {
			return true, nil
		}
		answer, err := command(b, words)
		if err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return false, err
		}
	}
	return false, lines.Err()
}

func command(b *Bridge, words []string) (string, error) {
	ways, known := map[string][]Direction{"there": {There}, "back": {Back}, "both": Both}[words[0]]
	if known {
		return "ok", change(b, ways, words[1:])
	}
	var answer any
	switch words[0] {
	case "stats":
		answer = map[string]Stats{There.String(): b.Stats(There), Back.String(): b.Stats(Back)}
	case "flows":
		answer = b.Flows()
	case "reset":
		b.Reset()
		return "ok", nil
	default:
		return "", fmt.Errorf("%q is no command, want one of:\n%s", words[0], Commands)
	}
	text, err := json.Marshal(answer)
	return string(text), err
}

func change(b *Bridge, ways []Direction, words []string) error {
	switch {
	case len(words) == 0:
		return errors.New("nothing to change: want knobs, heal or vanish")
	case words[0] == "heal":
		b.Heal(ways)
	case words[0] != "vanish":
		return b.Turn(ways, words...)
	case len(words) == 2 && words[1] == "seen":
		b.VanishSeen(ways)
	case len(words) == 4:
		left, err := netip.ParseAddrPort(words[2])
		if err != nil {
			return err
		}
		right, err := netip.ParseAddrPort(words[3])
		if err != nil {
			return err
		}
		f, err := NewFlow(words[1], left, right)
		if err != nil {
			return err
		}
		b.Vanish(ways, f)
	default:
		return errors.New("want vanish seen, or vanish tcp|udp ADDR:PORT ADDR:PORT")
	}
	return nil
}

// MarshalJSON puts the machine's counters beside the line's.
func (s Stats) MarshalJSON() ([]byte, error) {
	line, err := json.Marshal(s.Counters)
	if err != nil {
		return nil, err
	}
	host, err := json.Marshal(s.Host)
	return fmt.Appendf(nil, `%s,"host":%s}`, line[:len(line)-1], host), err
}
