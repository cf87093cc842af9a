package node

import "github.com/openbmx/lightweight-tunnel/actors/packet"

// Receive shows every datagram to the test before the node changes it in place,
// and adds what the test makes of it.
func (u *simUnderlay) Receive() (packet.Arrivals, error) {
	batch, err := u.Transport.Receive()
	var all packet.Arrivals
	for _, a := range batch {
		if u.hear != nil {
			u.hear(a.Data)
		}
		all = append(all, a)
		if u.forge != nil {
			for _, d := range u.forge(a.Data) {
				all = append(all, packet.Arrival{Data: d, Path: a.Path})
			}
		}
	}
	return all, err
}
