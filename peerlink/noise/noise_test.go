package noise

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

var now = time.Unix(1_700_000_000, 0)

func local(name, mesh string) (Local, message.Hello) {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	id := message.NodeID(key.Public().(ed25519.PublicKey))
	return Local{ID: id, Static: StaticKey(key), PSK: sha256.Sum256([]byte(mesh))},
		message.Hello{ID: id, Name: name, Version: "1", Started: 5}
}

func TestStaticKeyBelongsToTheIdentity(t *testing.T) {
	a, _ := local("a", "m")
	b, _ := local("b", "m")
	if err := CheckStatic(a.ID, a.Static); err != nil {
		t.Error(err)
	}
	if err := CheckStatic(a.ID, b.Static); err == nil {
		t.Error("another node's key is taken")
	}
	if err := CheckStatic(message.NodeID{2}, a.Static); err == nil {
		t.Error("an id that is no point is taken")
	}
}

func run(t *testing.T, a, b Local, ha, hb message.Hello) (Result, Result, error) {
	t.Helper()
	i, init, err := NewInitiator(a, now)
	if err != nil {
		t.Fatal(err)
	}
	r, said, err := NewResponder(b, init)
	if err != nil {
		return Result{}, Result{}, err
	}
	if !said.Clock.Equal(now) || said.Ephemeral == [32]byte{} {
		t.Errorf("init says %+v", said)
	}
	response, err := r.Respond(hb, now.Add(time.Second))
	if err != nil {
		return Result{}, Result{}, err
	}
	ra, final, err := i.Finish(response, ha, now)
	if err != nil {
		return Result{}, Result{}, err
	}
	rb, err := r.Finish(final)
	return ra, rb, err
}

func TestTwoNodesAgreeOnKeysAndKnowEachOther(t *testing.T) {
	a, ha := local("a", "mesh")
	b, hb := local("b", "mesh")
	ra, rb, err := run(t, a, b, ha, hb)
	if err != nil {
		t.Fatal(err)
	}
	if ra.Send != rb.Receive || rb.Send != ra.Receive || ra.Send == ra.Receive {
		t.Error("the keys do not fit")
	}
	if ra.Hello.ID != b.ID || rb.Hello.ID != a.ID || ra.Hello.Name != "b" || rb.Hello.Started != 5 {
		t.Errorf("%+v, %+v", ra.Hello, rb.Hello)
	}
	if !ra.Clock.Equal(now.Add(time.Second)) {
		t.Errorf("clock %v", ra.Clock)
	}
}

func TestAnotherMeshKeyReadsNothing(t *testing.T) {
	a, ha := local("a", "mesh")
	b, hb := local("b", "other mesh")
	if _, _, err := run(t, a, b, ha, hb); !errors.Is(err, ErrMessage) {
		t.Errorf("got %v", err)
	}
}

func TestAnIdentityThatWasNotProvenIsRefusedOnBothSides(t *testing.T) {
	a, ha := local("a", "mesh")
	b, hb := local("b", "mesh")
	thief, _ := local("thief", "mesh")
	liar := thief
	liar.ID = b.ID // says b, has the thief's key
	if _, _, err := run(t, a, liar, ha, hb); err == nil {
		t.Error("the initiator believes a stolen identity")
	}
	liar.ID = a.ID
	if _, _, err := run(t, liar, b, ha, hb); err == nil {
		t.Error("the responder believes a stolen identity")
	}
	// The same with a Noise static key that fits itself, so that only the
	// comparison with the Hello can notice.
	payload, err := appendHello(appendClock(nil, now), a.ID, ha)
	if err != nil {
		t.Fatal(err)
	}
	public, err := StaticPublic(thief.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proven(payload, public[:]); !errors.Is(err, ErrIdentity) {
		t.Errorf("got %v", err)
	}
}

func TestEveryTruncationAndChangeOfAMessageIsRefused(t *testing.T) {
	a, ha := local("a", "mesh")
	b, hb := local("b", "mesh")
	// damage runs a handshake in which one message is changed, and says whether
	// its reader took it.
	damage := func(which int, change func([]byte) []byte) (length int, taken bool) {
		i, init, err := NewInitiator(a, now)
		if err != nil {
			t.Fatal(err)
		}
		if which == 0 {
			_, _, err := NewResponder(b, change(init))
			return len(init), err == nil
		}
		r, _, err := NewResponder(b, init)
		if err != nil {
			t.Fatal(err)
		}
		response, err := r.Respond(hb, now)
		if err != nil {
			t.Fatal(err)
		}
		if which == 1 {
			_, _, err := i.Finish(change(response), ha, now)
			return len(response), err == nil
		}
		_, final, err := i.Finish(response, ha, now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Finish(change(final))
		if err == nil {
			if _, again := r.Finish(final); again == nil {
				t.Error("a final is taken twice")
			}
		}
		return len(final), err == nil
	}
	for which, name := range []string{"init", "response", "final"} {
		length, taken := damage(which, func(m []byte) []byte { return m })
		if !taken {
			t.Fatalf("%s is refused although it is good", name)
		}
		for n := range length {
			if _, taken := damage(which, func(m []byte) []byte { return m[:n] }); taken {
				t.Errorf("%s of %d bytes is taken", name, n)
			}
			if _, taken := damage(which, func(m []byte) []byte { m[n] ^= 1; return m }); taken {
				t.Errorf("%s with byte %d changed is taken", name, n)
			}
		}
	}
}

func TestGuardRefusesReplaysAndOldClocksAndFloods(t *testing.T) {
	var g Guard
	init := func(n int, off time.Duration) Init {
		return Init{Ephemeral: sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)}), Clock: now.Add(off)}
	}
	for _, c := range []struct {
		name string
		at   time.Duration
		init Init
		want Verdict
	}{
		{"new", 0, init(1, 0), Admit},
		{"the same again", time.Second, init(1, 0), Replayed},
		{"a clock ahead", 0, init(2, ClockWindow), Admit},
		{"a clock too far ahead", 0, init(3, ClockWindow+1), OffClock},
		{"a clock too far behind", 0, init(4, -ClockWindow-1), OffClock},
		{"off the clock is not remembered", 0, init(4, 0), Admit},
		{"replayed as long as its clock is good", 2 * ClockWindow, init(2, ClockWindow), Replayed},
		{"replayed later", 2*ClockWindow + 1, init(2, ClockWindow), OffClock},
	} {
		if got := g.Judge(now.Add(c.at), c.init); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
	admitted := 0
	later := now.Add(time.Hour)
	for n := range 1000 {
		if g.Judge(later, Init{Ephemeral: init(n+100, 0).Ephemeral, Clock: later}) == Admit {
			admitted++
		}
	}
	if admitted != burst {
		t.Errorf("%d of a flood were admitted, want %d", admitted, burst)
	}
	if got := g.Judge(later.Add(time.Second), Init{Ephemeral: init(5000, 0).Ephemeral, Clock: later}); got != Admit {
		t.Errorf("a second after the flood: %d", got)
	}
}

func TestGuardForgets(t *testing.T) {
	var g Guard
	at := now
	for n := range 60000 {
		at = at.Add(25 * time.Millisecond)
		e := sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)})
		if got := g.Judge(at, Init{Ephemeral: e, Clock: at}); got != Admit {
			t.Fatalf("init %d: %d", n, got)
		}
		if len(g.seen) > maxRemembered+1 || len(g.order) > 3*maxRemembered {
			t.Fatalf("it remembers %d, %d", len(g.seen), len(g.order))
		}
	}
}

func FuzzResponder(f *testing.F) {
	a, _ := local("a", "mesh")
	b, hb := local("b", "mesh")
	_, init, _ := NewInitiator(a, now)
	f.Add(init, []byte("final"))
	f.Fuzz(func(t *testing.T, init, final []byte) {
		r, _, err := NewResponder(b, init)
		if err != nil {
			return
		}
		if _, err := r.Respond(hb, now); err != nil {
			return // an ephemeral key of low order
		}
		if _, err := r.Finish(final); err == nil {
			t.Fatal("a final out of nothing is taken")
		}
	})
}

func FuzzInitiator(f *testing.F) {
	a, ha := local("a", "mesh")
	b, hb := local("b", "mesh")
	_, init, _ := NewInitiator(a, now)
	r, _, _ := NewResponder(b, init)
	response, _ := r.Respond(hb, now)
	f.Add(response)
	f.Fuzz(func(t *testing.T, response []byte) {
		i, _, err := NewInitiator(a, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := i.Finish(response, ha, now); err == nil {
			t.Fatal("a response to another handshake is taken")
		}
	})
}

func FuzzPayload(f *testing.F) {
	a, ha := local("a", "mesh")
	payload, _ := appendHello(appendClock(nil, now), a.ID, ha)
	public, _ := StaticPublic(a.ID)
	f.Add(payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := proven(b, public[:])
		if err == nil && r.Hello.ID.IsZero() {
			t.Fatal("nobody is proven")
		}
	})
}
