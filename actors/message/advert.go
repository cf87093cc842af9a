package message

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of an advert; a record beyond them is refused as a whole.
const (
	MaxAdvert    = 32 << 10 // bytes, signature included
	MaxName      = 64       // bytes
	MaxAddresses = 8
	MaxRoutes    = 256
	MaxEndpoints = 32
)

// Advert is what a node publishes of itself to the whole mesh. It is signed by
// the node's own key; of two adverts of a node the one with the higher Seq
// counts.
type Advert struct {
	ID        NodeID           `cbor:"1,keyasint"`
	Seq       uint64           `cbor:"2,keyasint"` // starts at the Unix milliseconds of the node's start, so a restart outbids the last run
	Name      string           `cbor:"3,keyasint"`
	Version   string           `cbor:"4,keyasint"`
	Addresses []netip.Prefix   `cbor:"5,keyasint"` // overlay addresses with their prefix lengths
	Routes    []netip.Prefix   `cbor:"6,keyasint"` // prefixes of sites behind the node
	Endpoints []netip.AddrPort `cbor:"7,keyasint"` // where the node may be reached on the underlay
	NAT       string           `cbor:"8,keyasint"` // NAT behaviour, whose first word `node peers` prints (see [NAT]); empty: not known
	Relay     bool             `cbor:"9,keyasint"` // forwards for others
	Left      bool             `cbor:"10,keyasint"`
	// Candidates say more of where the node may be reached, the most direct first;
	// nodes that do not know them use Endpoints.
	Candidates []Candidate `cbor:"11,keyasint,omitempty"`
}

// signed is the wire form: the body exactly as it was signed, and the signature.
type signed struct {
	Body      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"`
}

// advertDomain separates these signatures from any other use of the key.
const advertDomain = "lightweight-tunnel advert v1\x00"

var (
	encoder = must(cbor.EncOptions{Sort: cbor.SortCoreDeterministic, TextMarshaler: cbor.TextMarshalerNone}.EncMode())
	decoder = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8,
		MaxArrayElements: 1024, MaxMapPairs: 64, IndefLength: cbor.IndefLengthForbidden,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Seal encodes and signs a. The key must be that of a.ID.
func (a Advert) Seal(key ed25519.PrivateKey) ([]byte, error) {
	if NodeID(key.Public().(ed25519.PublicKey)) != a.ID {
		return nil, errors.New("sign advert: the key is not that of the advert's node")
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("sign advert: %w", err)
	}
	body, err := encoder.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode advert: %w", err)
	}
	sig := ed25519.Sign(key, append([]byte(advertDomain), body...))
	return encoder.Marshal(signed{Body: body, Signature: sig})
}

// OpenAdvert decodes what Seal made and checks bounds and signature.
func OpenAdvert(data []byte) (Advert, error) {
	if len(data) > MaxAdvert {
		return Advert{}, fmt.Errorf("advert of %d bytes is larger than %d", len(data), MaxAdvert)
	}
	var s signed
	if err := decoder.Unmarshal(data, &s); err != nil {
		return Advert{}, fmt.Errorf("decode advert: %w", err)
	}
	var a Advert
	if err := decoder.Unmarshal(s.Body, &a); err != nil {
		return Advert{}, fmt.Errorf("decode advert body: %w", err)
	}
	if err := a.check(); err != nil {
		return Advert{}, fmt.Errorf("advert: %w", err)
	}
	if len(s.Signature) != ed25519.SignatureSize ||
		!ed25519.Verify(a.ID[:], append([]byte(advertDomain), s.Body...), s.Signature) {
		return Advert{}, fmt.Errorf("advert of %s: bad signature", a.ID.Brief())
	}
	return a, nil
}

func (a Advert) check() error {
	if a.ID.IsZero() {
		return errors.New("no node id")
	}
	if err := CheckName(a.Name); err != nil {
		return err
	}
	if len(a.Version) > MaxName || len(a.NAT) > MaxName {
		return errors.New("version or NAT text too long")
	}
	if err := checkPrefixes("addresses", a.Addresses, MaxAddresses); err != nil {
		return err
	}
	if err := checkPrefixes("routes", a.Routes, MaxRoutes); err != nil {
		return err
	}
	if len(a.Endpoints) > MaxEndpoints {
		return fmt.Errorf("%d endpoints, at most %d", len(a.Endpoints), MaxEndpoints)
	}
	for _, e := range a.Endpoints {
		if !e.IsValid() {
			return errors.New("invalid endpoint")
		}
	}
	if len(a.Candidates) > MaxCandidates {
		return fmt.Errorf("%d candidates, at most %d", len(a.Candidates), MaxCandidates)
	}
	for _, c := range a.Candidates {
		if !c.Addr.IsValid() || c.Addr.Addr().Zone() != "" || c.Addr.Port() == 0 {
			return fmt.Errorf("invalid candidate %s", c.Addr)
		}
	}
	return nil
}

func checkPrefixes(what string, ps []netip.Prefix, most int) error {
	if len(ps) > most {
		return fmt.Errorf("%d %s, at most %d", len(ps), what, most)
	}
	for _, p := range ps {
		if !p.IsValid() || p.Addr().Zone() != "" || p.Addr().Is4In6() {
			return fmt.Errorf("%s: invalid prefix %q", what, p)
		}
	}
	return nil
}

// CheckName says what is wrong with a node's name: it goes to terminals and
// journals, so it is short printable ASCII without spaces or quotes.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("name has %d bytes, want 1 to %d", len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c > '~' || c == '"' || c == '\'' || c == '\\' {
			return fmt.Errorf("name %q: character %d is not a printable ASCII letter, digit or mark", name, i+1)
		}
	}
	return nil
}

// Append encodes h behind dst.
func (h Hello) Append(dst []byte) ([]byte, error) {
	b, err := encoder.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	return append(dst, b...), nil
}

// ParseHello decodes what Append made and checks its bounds; whether the sender
// owns the ID is for the handshake to check.
func ParseHello(data []byte) (Hello, error) {
	var h Hello
	if err := decoder.Unmarshal(data, &h); err != nil {
		return Hello{}, fmt.Errorf("decode hello: %w", err)
	}
	a := Advert{ID: h.ID, Name: h.Name, Version: h.Version, Addresses: h.Addresses}
	if err := a.check(); err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	return h, nil
}
