package rawtcp

import (
	"errors"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

func (w *testWire) poll() ([]link.Packet, error) {
	select {
	case p := <-w.in:
		return []link.Packet{p}, nil
	default:
		return nil, nil
	}
}

func (w *testWire) descriptor() (int, error) {
	return 0, errors.New("the wire of a test has no descriptor")
}
