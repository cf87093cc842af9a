package pcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var (
	client = netip.MustParseAddr("192.168.1.7")
	sample = Map{
		Nonce:    Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		Protocol: 17, Internal: 51820,
		External: netip.MustParseAddrPort("203.0.113.9:51821"),
	}
)

// golden are the bytes of RFC 6887, figures 2, 3, 9 and 10.
var golden = struct{ announce, mapping, removal, mapped, refused string }{
	announce: `02 00 0000 00000000 00000000000000000000ffff c0a80107`,
	mapping: `02 01 0000 000004b0 00000000000000000000ffff c0a80107
		0102030405060708090a0b0c 11 000000 ca6c ca6d 00000000000000000000ffff cb007109`,
	removal: `02 01 0000 00000000 00000000000000000000ffff c0a80107
		0102030405060708090a0b0c 11 000000 ca6c 0000 00000000000000000000ffff 00000000`,
	mapped: `02 81 00 00 000004b0 0000002a 000000000000000000000000
		0102030405060708090a0b0c 11 000000 ca6c ca6d 00000000000000000000ffff cb007109`,
	refused: `02 81 00 02 00000708 0000002a 000000000000000000000000`,
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// appendResponse is what a server sends.
func appendResponse(b []byte, r Response) []byte {
	b = append(b, version, byte(r.Opcode)|responseBit, 0, byte(r.Result))
	b = binary.BigEndian.AppendUint32(b, r.Seconds)
	b = binary.BigEndian.AppendUint32(b, r.Epoch)
	b = append(b, make([]byte, 12)...)
	if r.Opcode != OpMap || r.Result != Success {
		return b
	}
	whole := AppendMap(nil, netip.IPv4Unspecified(), 0, r.Map)
	return append(b, whole[headerSize:]...)
}

func TestRequestsAreTheBytesOfTheRFC(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"announce": {AppendAnnounce(nil, client), golden.announce},
		"map":      {AppendMap(nil, client, 1200, sample), golden.mapping},
		"remove": {AppendMap(nil, client, 0, Map{Nonce: sample.Nonce, Protocol: 17, Internal: 51820}),
			golden.removal},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s: got %x, want %x", name, c.got, want)
		}
	}
}

func TestResponsesAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  Response
	}{
		"mapped":    {golden.mapped, Response{Opcode: OpMap, Seconds: 1200, Epoch: 42, Map: sample}},
		"refused":   {golden.refused, Response{Opcode: OpMap, Result: NotAuthorized, Seconds: 1800, Epoch: 42}},
		"announced": {"02 80 00 00 00000000 00000007 000000000000000000000000", Response{Opcode: OpAnnounce, Epoch: 7}},
		"with an option": {golden.mapped + "02 00 0000",
			Response{Opcode: OpMap, Seconds: 1200, Epoch: 42, Map: sample}},
	} {
		got, err := ParseResponse(unhex(t, c.bytes))
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

func TestEveryTruncatedResponseIsRefused(t *testing.T) {
	whole := unhex(t, golden.mapped)
	for n := range whole {
		if r, err := ParseResponse(whole[:n:n]); err == nil {
			t.Errorf("%d of %d bytes: read as %+v", n, len(whole), r)
		}
	}
}

func TestWhatIsNoResponseIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"a request":     unhex(t, golden.mapping),
		"too long":      append(unhex(t, golden.mapped), make([]byte, longest)...),
		"an odd length": append(unhex(t, golden.mapped), 0, 0),
	} {
		if r, err := ParseResponse(b); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
	// What a NAT-PMP server answers to PCP (RFC 6886, 3.5).
	if _, err := ParseResponse(unhex(t, "00 80 0001 0000002a")); !errors.Is(err, ErrVersion) {
		t.Errorf("NAT-PMP: got %v, want %v", err, ErrVersion)
	}
}

func TestEveryResultHasWords(t *testing.T) {
	for r := Success; r <= ExcessiveRemotePeers; r++ {
		if r.Error() == "" {
			t.Errorf("result %d has no words", r)
		}
	}
	if got := Result(200).Error(); got != "result code 200" {
		t.Errorf("got %q", got)
	}
}

func FuzzParseResponse(f *testing.F) {
	for _, r := range []Response{
		{Opcode: OpMap, Seconds: 1200, Epoch: 42, Map: sample},
		{Opcode: OpMap, Result: NoResources, Seconds: 30},
		{Opcode: OpAnnounce, Epoch: 1},
	} {
		f.Add(appendResponse(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseResponse(b)
		if err != nil {
			if r != (Response{}) {
				t.Fatalf("an error and %+v", r)
			}
			return
		}
		again, err := ParseResponse(appendResponse(nil, r))
		if err != nil || again != r {
			t.Fatalf("read %+v, written and read %+v, %v", r, again, err)
		}
	})
}
