package routes

import (
	"fmt"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watch pokes when links, addresses or routes of the host change, whoever
// changed them. What changed is not looked at: the table is read again anyway,
// and a notification may be lost.
type watch struct {
	changed actors.Poke
	socket  *nl.NetlinkSocket
	closed  atomic.Bool
	ended   chan struct{}
}

func newWatch() (*watch, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of the routing table: %w", err)
	}
	w := &watch{changed: actors.NewPoke(), socket: socket, ended: make(chan struct{})}
	go w.listen()
	return w, nil
}

func (w *watch) listen() {
	defer close(w.ended)
	for {
		_, _, err := w.socket.Receive()
		if err != nil && w.closed.Load() {
			return
		}
		w.changed.Give() // after an error too: then something was lost
	}
}

func (w *watch) close() {
	w.closed.Store(true)
	w.socket.Close()
	<-w.ended
}
