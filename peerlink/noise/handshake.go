package noise

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/flynn/noise"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Local is what a node brings into every handshake.
type Local struct {
	ID     message.NodeID
	Static [32]byte // X25519 private key of ID, see [StaticKey]
	PSK    [32]byte // from the mesh key
}

// Result is what both sides have after a handshake.
type Result struct {
	Hello   message.Hello // of the peer; its ID is proven
	Send    [32]byte      // AES-256-GCM key for datagrams to the peer
	Receive [32]byte      // for datagrams from the peer
	Clock   time.Time     // the peer's, when it wrote its last message
}

// ErrMessage is wrapped by all errors about a peer's message that does not
// decrypt or makes no sense; the handshake is then over.
var ErrMessage = errors.New("handshake message is not valid")

var (
	suite    = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)
	prologue = []byte("lightweight-tunnel v1")
)

func (l Local) state(initiator bool) (*noise.HandshakeState, error) {
	public, err := StaticPublic(l.ID)
	if err != nil {
		return nil, err
	}
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:   suite,
		Pattern:       noise.HandshakeXX,
		Initiator:     initiator,
		Prologue:      prologue,
		PresharedKey:  l.PSK[:],
		StaticKeypair: noise.DHKey{Private: l.Static[:], Public: public[:]},
	})
	if err != nil {
		return nil, fmt.Errorf("begin handshake: %w", err)
	}
	return state, nil
}

// Initiator is the side that sends the first message. It is for one handshake
// and one goroutine; after an error it is done.
type Initiator struct {
	local Local
	state *noise.HandshakeState
}

// NewInitiator begins a handshake and returns the first message. clock is this
// node's clock, corrected by what a refusal taught.
func NewInitiator(local Local, clock time.Time) (*Initiator, []byte, error) {
	state, err := local.state(true)
	if err != nil {
		return nil, nil, err
	}
	body, _, _, err := state.WriteMessage(nil, appendClock(nil, clock))
	if err != nil {
		return nil, nil, fmt.Errorf("write handshake init: %w", err)
	}
	return &Initiator{local: local, state: state}, body, nil
}

// Finish reads the second message and returns the third. After that both the
// result and its keys are valid, but the peer has them only when the third
// message has arrived.
func (i *Initiator) Finish(response []byte, hello message.Hello, clock time.Time) (Result, []byte, error) {
	payload, _, _, err := i.state.ReadMessage(nil, response)
	if err != nil {
		return Result{}, nil, fmt.Errorf("%w: response: %w", ErrMessage, err)
	}
	result, err := proven(payload, i.state.PeerStatic())
	if err != nil {
		return Result{}, nil, err
	}
	mine, err := appendHello(appendClock(nil, clock), i.local.ID, hello)
	if err != nil {
		return Result{}, nil, err
	}
	final, send, receive, err := i.state.WriteMessage(nil, mine)
	if err != nil {
		return Result{}, nil, fmt.Errorf("write handshake final: %w", err)
	}
	result.Send, result.Receive = send.UnsafeKey(), receive.UnsafeKey()
	return result, final, nil
}

// Init is what the first message says before anybody is known.
type Init struct {
	Ephemeral [32]byte // unique to the handshake: by it replays are known
	Clock     time.Time
}

// Responder is the side that answers. It is for one handshake and one
// goroutine; after an error it is done.
type Responder struct {
	local Local
	state *noise.HandshakeState
}

// NewResponder reads the first message. Its cost is a few hashes, no curve
// operation: let a [Guard] decide before calling Respond.
func NewResponder(local Local, init []byte) (*Responder, Init, error) {
	state, err := local.state(false)
	if err != nil {
		return nil, Init{}, err
	}
	payload, _, _, err := state.ReadMessage(nil, init)
	if err != nil {
		return nil, Init{}, fmt.Errorf("%w: init: %w", ErrMessage, err)
	}
	clock, _, err := parseClock(payload)
	if err != nil {
		return nil, Init{}, err
	}
	return &Responder{local: local, state: state},
		Init{Ephemeral: [32]byte(state.PeerEphemeral()), Clock: clock}, nil
}

// Respond returns the second message.
func (r *Responder) Respond(hello message.Hello, clock time.Time) ([]byte, error) {
	mine, err := appendHello(appendClock(nil, clock), r.local.ID, hello)
	if err != nil {
		return nil, err
	}
	body, _, _, err := r.state.WriteMessage(nil, mine)
	if err != nil {
		return nil, fmt.Errorf("write handshake response: %w", err)
	}
	return body, nil
}

// Finish reads the third message.
func (r *Responder) Finish(final []byte) (Result, error) {
	payload, receive, send, err := r.state.ReadMessage(nil, final)
	if err != nil {
		return Result{}, fmt.Errorf("%w: final: %w", ErrMessage, err)
	}
	result, err := proven(payload, r.state.PeerStatic())
	if err != nil {
		return Result{}, err
	}
	result.Send, result.Receive = send.UnsafeKey(), receive.UnsafeKey()
	return result, nil
}

// proven reads a payload with a Hello and compares its ID with the static key.
func proven(payload, static []byte) (Result, error) {
	clock, rest, err := parseClock(payload)
	if err != nil {
		return Result{}, err
	}
	hello, err := message.ParseHello(rest)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	want, err := StaticPublic(hello.ID)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if string(want[:]) != string(static) {
		return Result{}, fmt.Errorf("%w: %s", ErrIdentity, hello.ID.Brief())
	}
	return Result{Hello: hello, Clock: clock}, nil
}

func appendHello(dst []byte, id message.NodeID, hello message.Hello) ([]byte, error) {
	hello.ID = id
	return hello.Append(dst)
}

func appendClock(dst []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t.UnixNano()))
}

func parseClock(b []byte) (time.Time, []byte, error) {
	if len(b) < 8 {
		return time.Time{}, nil, fmt.Errorf("%w: payload of %d bytes", ErrMessage, len(b))
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))), b[8:], nil
}
