package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// TransactionID names a request and its answer. Every transmission has its own.
type TransactionID [stun.TransactionIDSize]byte

// Class says what a message is for.
type Class uint8

// The classes of Binding messages (RFC 8489, 5). An Indication is what a node of
// the mesh passes on to another one that shall answer in its place.
const (
	Request Class = iota + 1
	Success
	Failure
	Indication
)

var classTypes = [...]stun.MessageType{
	Request:    stun.BindingRequest,
	Success:    stun.BindingSuccess,
	Failure:    stun.BindingError,
	Indication: stun.NewType(stun.MethodBinding, stun.ClassIndication),
}

// Change asks that the answer come from elsewhere (CHANGE-REQUEST, RFC 5780, 7.2).
type Change uint8

// The bits of Change, as on the wire.
const (
	ChangePort    Change = 0x02
	ChangeAddress Change = 0x04
)

// Message is a Binding message of STUN with what matters here of it. Fields that
// are zero are not on the wire.
type Message struct {
	Class  Class
	ID     TransactionID
	Mapped netip.AddrPort // Success: the asker as it is seen, XOR-MAPPED-ADDRESS
	// Other is where else answers can come from, OTHER-ADDRESS. Nodes of the mesh,
	// which need not know their own address, leave the address unspecified: it is
	// that which was asked.
	Other  netip.AddrPort
	Change Change         // Request
	Asker  netip.AddrPort // Indication: whom to answer
	Time   time.Time      // Request and Indication inside the mesh, to the second
	Code   int            // Failure: ERROR-CODE
}

// Attributes of the mesh's own, comprehension-optional (RFC 8489, 18.3).
const (
	attrTime  stun.AttrType = 0xC0E1 // seconds since 1970, 8 bytes
	attrAsker stun.AttrType = 0xC0E2 // as XOR-MAPPED-ADDRESS
)

// MaxMessage is the longest message that is parsed, in bytes (RFC 8489, 6.1).
const MaxMessage = 548

// codeUnknownAttribute is the answer to a Change that cannot be served.
const codeUnknownAttribute = int(stun.CodeUnknownAttribute)

// ErrMessage is wrapped by all errors of ParseMessage.
var ErrMessage = errors.New("STUN message is malformed")

// Append encodes m behind dst.
func (m Message) Append(dst []byte) []byte {
	s := stun.New()
	s.TransactionID = m.ID
	s.SetType(classTypes[m.Class])
	s.WriteHeader()
	if m.Mapped.IsValid() {
		_ = stun.XORMappedAddress{IP: ip(m.Mapped), Port: int(m.Mapped.Port())}.AddTo(s) // fails for other than 4 and 16 bytes only
	}
	if m.Other.IsValid() {
		_ = (&stun.OtherAddress{IP: ip(m.Other), Port: int(m.Other.Port())}).AddTo(s)
	}
	if m.Change != 0 {
		s.Add(stun.AttrChangeRequest, []byte{0, 0, 0, byte(m.Change)})
	}
	if m.Asker.IsValid() {
		_ = stun.XORMappedAddress{IP: ip(m.Asker), Port: int(m.Asker.Port())}.AddToAs(s, attrAsker)
	}
	if !m.Time.IsZero() {
		s.Add(attrTime, binary.BigEndian.AppendUint64(nil, uint64(m.Time.Unix())))
	}
	if m.Class == Failure {
		_ = stun.ErrorCodeAttribute{Code: stun.ErrorCode(m.Code)}.AddTo(s)
	}
	return append(dst, s.Raw...)
}

func ip(a netip.AddrPort) net.IP { return a.Addr().Unmap().AsSlice() }

// IsMessage says whether b may be a STUN message in the clear: one datagram of
// the mesh in 2^34 looks so by chance.
func IsMessage(b []byte) bool { return len(b) >= stunHeader && b[0]&0xC0 == 0 && stun.IsMessage(b) }

const stunHeader = 20

// ParseMessage decodes a Binding message: what Append made, or what a public
// server answers (also of RFC 3489, whose attributes are older).
func ParseMessage(b []byte) (Message, error) {
	if len(b) > MaxMessage || !IsMessage(b) {
		return Message{}, fmt.Errorf("%w: %d bytes that are no STUN", ErrMessage, len(b))
	}
	s := stun.New()
	if err := stun.Decode(b, s); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	m := Message{ID: s.TransactionID}
	for class, t := range classTypes {
		if class != 0 && s.Type == t {
			m.Class = Class(class)
		}
	}
	if m.Class == 0 {
		return Message{}, fmt.Errorf("%w: %s is not expected", ErrMessage, s.Type)
	}
	m.Mapped = xorAddress(s, stun.AttrXORMappedAddress)
	if !m.Mapped.IsValid() {
		m.Mapped = plainAddress(s, stun.AttrMappedAddress)
	}
	m.Other = plainAddress(s, stun.AttrOtherAddress)
	if !m.Other.IsValid() {
		m.Other = plainAddress(s, stun.AttrChangedAddress)
	}
	m.Asker = xorAddress(s, attrAsker)
	if v, err := s.Get(stun.AttrChangeRequest); err == nil && len(v) == 4 {
		m.Change = Change(v[3]) & (ChangePort | ChangeAddress)
	}
	if v, err := s.Get(attrTime); err == nil && len(v) == 8 {
		if sec := int64(binary.BigEndian.Uint64(v)); sec >= 0 && sec < 1<<40 {
			m.Time = time.Unix(sec, 0)
		}
	}
	if m.Class == Failure {
		var code stun.ErrorCodeAttribute
		if code.GetFrom(s) == nil && code.Code >= 300 && code.Code < 700 {
			m.Code = int(code.Code)
		}
	}
	if m.Class == Success && !m.Mapped.IsValid() {
		return Message{}, fmt.Errorf("%w: an answer without an address", ErrMessage)
	}
	if m.Class == Indication && !m.Asker.IsValid() {
		return Message{}, fmt.Errorf("%w: passed on without the asker", ErrMessage)
	}
	return m, nil
}

func xorAddress(s *stun.Message, t stun.AttrType) netip.AddrPort {
	var a stun.XORMappedAddress
	if a.GetFromAs(s, t) != nil {
		return netip.AddrPort{}
	}
	return addrPort(a.IP, a.Port)
}

func plainAddress(s *stun.Message, t stun.AttrType) netip.AddrPort {
	var a stun.MappedAddress
	if a.GetFromAs(s, t) != nil {
		return netip.AddrPort{}
	}
	return addrPort(a.IP, a.Port)
}

// addrPort is no address if the port is none.
func addrPort(ip net.IP, port int) netip.AddrPort {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || port <= 0 || port > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port))
}
