package message

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func testAdvert() (Advert, ed25519.PrivateKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return Advert{
		ID: NodeID(key.Public().(ed25519.PublicKey)), Seq: 5, Name: "office", Version: "1.0", NAT: "cone/dp",
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.4:51822")},
		Candidates: []Candidate{
			{Addr: netip.MustParseAddrPort("192.168.1.9:51822"), Kind: Host, Transport: packet.UDP},
			{Addr: netip.MustParseAddrPort("[2001:db8::9]:9000"), Kind: Mapped, Transport: packet.RawTCP},
			{Addr: netip.MustParseAddrPort("198.51.100.4:51822"), Kind: PortMapped, Transport: packet.UDP},
		},
	}, key
}

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.IgnoreUnexported(Candidate{}), cmpopts.EquateEmpty(),
}

func TestAnAdvertCarriesCandidates(t *testing.T) {
	a, key := testAdvert()
	sealed, err := a.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenAdvert(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, got, compare); diff != "" {
		t.Error(diff)
	}
	for n := range sealed {
		if _, err := OpenAdvert(sealed[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken for an advert", n, len(sealed))
		}
	}
}

func TestACandidateIsGolden(t *testing.T) {
	a, _ := testAdvert()
	b, err := encoder.Marshal(a.Candidates)
	if err != nil {
		t.Fatal(err)
	}
	// array of 3: [address and port as bytes, kind, transport]
	const want = "838346c0a801096eca01028352" + "20010db8000000000000000000000009" + "2823" + "0201" + "8346c63364046eca0302"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("candidates are %s, want %s", got, want)
	}
}

func TestAnAdvertWithoutCandidatesIsAsBefore(t *testing.T) {
	a, _ := testAdvert()
	a.Candidates = nil
	b, err := encoder.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if b[0] != 0xaa { // a map of the ten pairs that there were
		t.Errorf("advert begins with %x", b[0])
	}
}

func TestAnAdvertSkipsWhatItDoesNotKnow(t *testing.T) {
	a, key := testAdvert()
	type newer struct {
		Advert
		More string `cbor:"99,keyasint"`
	}
	body, err := encoder.Marshal(newer{Advert: a, More: "news"})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encoder.Marshal(signed{Body: body, Signature: ed25519.Sign(key, append([]byte(advertDomain), body...))})
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenAdvert(sealed)
	if diff := cmp.Diff(a, got, compare); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestCandidatesBeyondTheBoundsAreRefused(t *testing.T) {
	a, key := testAdvert()
	for want, candidates := range map[string][]Candidate{
		"33 candidates":     make([]Candidate, MaxCandidates+1),
		"invalid candidate": {{Addr: netip.MustParseAddrPort("192.0.2.1:0")}},
		"invalid":           {{}},
		"fe80::1%eth0":      {{Addr: netip.MustParseAddrPort("[fe80::1%eth0]:5")}},
	} {
		a.Candidates = candidates
		if _, err := a.Seal(key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzOpenAdvert(f *testing.F) {
	a, key := testAdvert()
	sealed, err := a.Seal(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := OpenAdvert(b); err == nil && a.check() != nil {
			t.Fatalf("an advert out of bounds was opened: %+v", a)
		}
	})
}
