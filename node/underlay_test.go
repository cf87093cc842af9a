package node

import "github.com/openbmx/lightweight-tunnel/actors/packet"

// Receive shows every datagram to the test before the node changes it in place.
func (u *simUnderlay) Receive() (packet.Arrivals, error) {
	batch, err := u.Transport.Receive()
	if u.hear != nil {
		for _, a := range batch {
			u.hear(a.Data)
		}
	}
	return batch, err
}
