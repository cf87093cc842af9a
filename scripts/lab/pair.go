package lab

import "context"

// Pair is two hosts on one cable, with addresses of both families.
type Pair struct {
	Left, Right *Namespace
}

// The addresses of a pair, the same in every pair: each is an internet of its own.
const (
	PairLeft4, PairRight4 = "192.0.2.1", "192.0.2.2"
	PairLeft6, PairRight6 = "2001:db8::1", "2001:db8::2"
	// PairDevice is the name of the cable's end in both hosts.
	PairDevice = "eth0"
)

// NewPair builds a pair. The roles of its namespaces start with name, so that one lab can
// hold several.
func (l *Lab) NewPair(ctx context.Context, name string, offload Offload) (*Pair, error) {
	left, err := l.Namespace(ctx, name+"left")
	if err != nil {
		return nil, err
	}
	right, err := l.Namespace(ctx, name+"right")
	if err != nil {
		return nil, err
	}
	return &Pair{Left: left, Right: right}, Connect(ctx,
		End{In: left, Device: PairDevice, Addresses: []string{PairLeft4 + "/24", PairLeft6 + "/64"}},
		End{In: right, Device: PairDevice, Addresses: []string{PairRight4 + "/24", PairRight6 + "/64"}},
		offload)
}
