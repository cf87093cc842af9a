// Command impair is a bad cable: it bridges two network devices of the network
// namespace that it runs in, and does to their packets what bad links do.
//
//	impair [-seed N] [-control SOCKET] LEFT RIGHT [KNOB=VALUE ...]
//
// It prints "ready", then obeys commands, one a line, from standard input (and
// from each connection to a unix socket, with -control), until "quit", SIGTERM
// or the end of the input. For example, with veth pairs that lead to two hosts:
//
//	ip netns exec line impair left right delay=25ms rate=100mbit queue=50ms <<-end
//		there loss=3% burst=2%/8
//		both blackhole=on
//		both heal
//		both vanish seen
//		stats
//	end
//
// The hosts' ends of the pairs must send whole packets: `ethtool -K eth0 tx off
// tso off gso off gro off`. `impair -h` lists knobs and commands. Go programs
// use package impair itself, tests get a ready network from lab.Impaired.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
)

func main() {
	err := run()
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "impair:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("impair", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "the same seed makes the same decisions")
	socket := flags.String("control", "", "take commands from this unix socket, too")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "impair [-seed N] [-control SOCKET] LEFT RIGHT [KNOB=VALUE ...]\n\n")
		flags.PrintDefaults()
		fmt.Fprintf(flags.Output(), "\nKnobs:\n%s\n\nCommands:\n%s\n", impair.Knobs, impair.Commands)
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		flags.Usage()
		return errors.New("want two devices")
	}
	profile, err := impair.Profile{}.With(flags.Args()[2:]...)
	if err != nil {
		return err
	}
	bridge, err := impair.Open(flags.Arg(0), flags.Arg(1), *seed, profile)
	if err != nil {
		return err
	}
	defer bridge.Close()
	ended := make(chan error, 1)
	if *socket != "" {
		listener, err := net.Listen("unix", *socket)
		if err != nil {
			return err
		}
		defer listener.Close()
		go serve(bridge, listener, ended)
	}
	fmt.Println("ready")
	go func() {
		quit, err := impair.Control(bridge, os.Stdin, os.Stdout)
		// Without an input there is still the socket.
		if quit || err != nil || *socket == "" {
			ended <- err
		}
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-signals:
		return nil
	}
}

func serve(bridge *impair.Bridge, listener net.Listener, ended chan<- error) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return // it was closed: we are done
		}
		go func() {
			defer connection.Close()
			quit, err := impair.Control(bridge, connection, connection)
			if err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "impair: a control connection:", err)
			}
			if quit {
				ended <- nil
			}
		}()
	}
}
