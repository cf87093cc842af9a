package gossip

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func bundleOf(data []byte) (out [][]byte, err error) {
	err = parseBundle(data, func(sealed []byte) { out = append(out, bytes.Clone(sealed)) })
	return out, err
}

func TestBundleGoldenBytes(t *testing.T) {
	got := hex.EncodeToString(appendBundle(nil, [][]byte{{0xaa}, {0xbb, 0xcc}, {}}, 1))
	if want := "01" + "0002bbcc" + "0000" + "0001aa"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	if got := hex.EncodeToString(appendNote(nil, []byte{1, 2})); got != "010102" {
		t.Fatal(got)
	}
}

func TestBundleComesBackWhole(t *testing.T) {
	in := [][]byte{bytes.Repeat([]byte{1}, message.MaxAdvert), {2}, {3, 3}}
	out, err := bundleOf(appendBundle(nil, in, 0))
	if err != nil || len(out) != 3 || !bytes.Equal(out[0], in[0]) || !bytes.Equal(out[2], in[2]) {
		t.Fatalf("%d %v", len(out), err)
	}
	if out, err := bundleOf(appendBundle(nil, nil, 0)); err != nil || len(out) != 0 {
		t.Fatalf("%d %v", len(out), err)
	}
}

func TestBundleCutShortIsAnErrorUnlessBetweenAdverts(t *testing.T) {
	whole := appendBundle(nil, [][]byte{{1, 2, 3}, {4}}, 0)
	between := map[int]int{1: 0, 6: 1, len(whole): 2}
	for n := range len(whole) + 1 {
		out, err := bundleOf(whole[:n])
		if want, ok := between[n]; ok != (err == nil) || ok && len(out) != want {
			t.Fatalf("%d bytes: %d adverts, %v", n, len(out), err)
		}
	}
}

func TestBundleNeverExceedsItsBound(t *testing.T) {
	var in [][]byte
	for range 3 * maxBundle / message.MaxAdvert {
		in = append(in, make([]byte, message.MaxAdvert))
	}
	data := appendBundle(nil, in, 7)
	if out, err := bundleOf(data); err != nil || len(data) > maxBundle || len(out) < maxBundle/message.MaxAdvert-1 {
		t.Fatalf("%d bytes, %d adverts, %v", len(data), len(out), err)
	}
	if _, err := bundleOf(append(data, make([]byte, maxBundle)...)); err == nil {
		t.Fatal("too long, and taken")
	}
}

func TestUnknownKindsAreRefused(t *testing.T) {
	for _, data := range [][]byte{nil, {}, {0}, {2, 1, 2}, make([]byte, message.MaxAdvert+2)} {
		if _, err := parseNote(data); err == nil {
			t.Errorf("note %.8x taken", data)
		}
		if _, err := bundleOf(data); err == nil {
			t.Errorf("bundle %.8x taken", data)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add(appendBundle(nil, [][]byte{sealAs(f, 2, template(2)), {1}, {}}, 0))
	f.Add(appendBundle(nil, nil, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := bundleOf(data)
		if err == nil && !bytes.Equal(appendBundle(nil, out, 0), data) {
			t.Fatal("not what was encoded")
		}
		if sealed, err := parseNote(data); err == nil && !bytes.Equal(appendNote(nil, sealed), data) {
			t.Fatal("not what was encoded")
		}
	})
}

func TestMemberNameHasOneSpelling(t *testing.T) {
	for _, place := range []string{"10.0.0.1:7946", "[fd00::1]:7946"} {
		n := memberName{idOf(1), netip.MustParseAddrPort(place)}
		if back, err := parseMemberName(n.String()); err != nil || back != n {
			t.Fatalf("%v %v", back, err)
		}
	}
	hex := idOf(1).String()
	for _, text := range []string{"", "@", hex, hex + "@", hex[:62] + "@10.0.0.1:1", strings.ToUpper(hex) + "@10.0.0.1:1", hex + "@[fd00::0001]:1", hex + "@10.0.0.1:01"} {
		if _, err := parseMemberName(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestMemberMetaIsBoundToNodeAndPlace(t *testing.T) {
	name := memberName{idOf(1), netip.MustParseAddrPort("10.0.0.1:7946")}
	data := memberMeta{run: 1234567890123, version: strings.Repeat("v", message.MaxName)}.seal(keyOf(1), name)
	if len(data) > memberlist.MetaMaxSize {
		t.Fatalf("%d bytes", len(data))
	}
	m, err := openMemberMeta(data, name)
	if err != nil || m.run != 1234567890123 || len(m.version) != message.MaxName {
		t.Fatalf("%+v %v", m, err)
	}
	for n := range data {
		if _, err := openMemberMeta(data[:n], name); err == nil {
			t.Fatalf("%d bytes were taken", n)
		}
	}
	for _, other := range []memberName{{idOf(2), name.place}, {name.id, netip.MustParseAddrPort("10.0.0.2:7946")}, {name.id, netip.MustParseAddrPort("10.0.0.1:1")}} {
		if _, err := openMemberMeta(data, other); err == nil {
			t.Fatalf("taken for %s", other)
		}
	}
}

func TestDelegateRefusesAMemberThatIsNotWhereItsNameSays(t *testing.T) {
	d := &delegate{verified: map[string]string{}}
	name := memberName{idOf(1), netip.MustParseAddrPort("10.0.0.1:7946")}
	n := name.node()
	n.Meta = memberMeta{}.seal(keyOf(1), name)
	for range 2 { // checked, then remembered
		if err := d.NotifyAlive(n); err != nil {
			t.Fatal(err)
		}
	}
	n.Port++
	if err := d.NotifyAlive(n); err == nil {
		t.Fatal("another port")
	}
	n.Port--
	n.Meta = append([]byte(nil), n.Meta...)
	n.Meta[0] ^= 1
	if err := d.NotifyAlive(n); err == nil {
		t.Fatal("another signature")
	}
}

func FuzzMember(f *testing.F) {
	name := memberName{idOf(1), netip.MustParseAddrPort("10.0.0.1:7946")}
	f.Add(name.String(), memberMeta{run: 1, version: "1.0"}.seal(keyOf(1), name))
	f.Add("@", []byte{})
	f.Fuzz(func(t *testing.T, text string, meta []byte) {
		d := &delegate{verified: map[string]string{}}
		n := name.node()
		n.Name, n.Meta = text, meta
		if d.NotifyAlive(n) == nil && text != name.String() {
			t.Fatalf("%q at %s", text, n.Address())
		}
		if got, err := parseMemberName(text); err == nil && got.String() != text {
			t.Fatalf("%q is %s", text, got)
		}
	})
}
