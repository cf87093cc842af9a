package wire

// AsideCounter is the first counter of datagrams that go aside of the stream:
// probes of other paths, most of which are meant to be lost. They have a replay
// window of their own, move no link, and tell nothing about the loss of the path
// in use.
const AsideCounter = 1 << 62

// Aside says whether a datagram goes aside of the session's stream.
func (h Header) Aside() bool { return h.Kind == Control && h.Counter >= AsideCounter }
