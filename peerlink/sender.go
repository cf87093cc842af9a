package peerlink

import (
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// sender sends single datagrams for one actor. What cannot be sent is lost, as
// it may be on the way: all senders repeat what must arrive.
type sender struct {
	d     *Directory
	train *packet.Train
}

func newSender(d *Directory) sender { return sender{d: d, train: packet.NewTrain()} }

// handshake sends one datagram of a handshake.
func (s sender) handshake(path packet.Path, h wire.Handshake) {
	datagram := s.d.outer.Append(nil, h, path.MaxDatagram())
	s.train.Reset(path.Prefix())
	if slot := s.train.Next(len(datagram)); slot != nil {
		copy(slot, datagram)
		_ = path.Send(s.train)
	}
}

// control sends one frame in a session.
func (s sender) control(to *sealer, path packet.Path, frame wire.Frame) {
	s.frame(to, to.counter.Add(1)-1, path, frame)
}

// aside sends one frame aside of a session's stream: the path is only asked.
func (s sender) aside(to *sealer, path packet.Path, frame wire.Frame) {
	s.frame(to, wire.AsideCounter+to.aside.Add(1)-1, path, frame)
}

// asideHops is aside with so many hops to live.
func (s sender) asideHops(to *sealer, path packet.Path, hopper packet.Hopper, hops uint8, frame wire.Frame) {
	if s.fill(to, wire.AsideCounter+to.aside.Add(1)-1, path, frame) {
		_ = hopper.SendHops(s.train, hops)
	}
}

func (s sender) frame(to *sealer, counter uint64, path packet.Path, frame wire.Frame) {
	if s.fill(to, counter, path, frame) {
		_ = path.Send(s.train)
	}
}

// fill makes the train of one datagram with a frame.
func (s sender) fill(to *sealer, counter uint64, path packet.Path, frame wire.Frame) bool {
	plain := frame.Append(nil)
	s.train.Reset(path.Prefix())
	slot := s.train.Next(len(plain) + wire.Overhead)
	if slot == nil {
		return false
	}
	h := wire.Header{Kind: wire.Control, Index: to.index, Counter: counter}
	wire.Seal(slot, to.masker, to.aead, h, plain)
	return true
}
