package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// wireguardCommand as the first argument makes this program one end of a
// wireguard-go tunnel: the second argument is the device, the third a file in the
// configuration protocol of WireGuard's userspace implementations.
const wireguardCommand = "wireguard-go"

// The tunnel's addresses, and the default MTU of WireGuard.
const (
	wireguardLeft, wireguardRight = "10.88.0.1", "10.88.0.2"
	wireguardPort                 = 51820
	wireguardDevice               = "wg0"
	wireguardMTU                  = 1420
)

// runWireguard is a process of its own per end, as it would be on two machines.
func runWireguard(args []string) error {
	if len(args) != 2 {
		return errors.New(wireguardCommand + " wants a device and a configuration")
	}
	config, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	link, err := tun.CreateTUN(args[0], wireguardMTU)
	if err != nil {
		return err
	}
	dev := device.NewDevice(link, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, args[0]+": "))
	defer dev.Close()
	if err := dev.IpcSet(string(config)); err != nil {
		return err
	}
	if err := dev.Up(); err != nil {
		return err
	}
	fmt.Println("ready")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case <-dev.Wait():
		return errors.New("the device went down")
	}
}

// startWireguard starts both ends.
func (c *contender) startWireguard(ctx context.Context, l *lab.Lab) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	leftKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	rightKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	c.target = wireguardRight
	for _, end := range []struct {
		host                    *lab.Namespace
		own                     *ecdh.PrivateKey
		peer                    *ecdh.PublicKey
		underlay, address, away string
	}{
		{c.pair.Left, leftKey, rightKey.PublicKey(), lab.PairRight4, wireguardLeft, wireguardRight},
		{c.pair.Right, rightKey, leftKey.PublicKey(), lab.PairLeft4, wireguardRight, wireguardLeft},
	} {
		config := strings.Join([]string{
			"private_key=" + hex.EncodeToString(end.own.Bytes()),
			fmt.Sprintf("listen_port=%d", wireguardPort),
			"public_key=" + hex.EncodeToString(end.peer.Bytes()),
			fmt.Sprintf("endpoint=%s:%d", end.underlay, wireguardPort),
			"allowed_ip=" + end.away + "/32",
			"",
		}, "\n")
		path := filepath.Join(l.Dir(), end.host.Role+".wg")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return err
		}
		process, err := end.host.Start(lab.Command{Path: self, Args: []string{wireguardCommand, wireguardDevice, path}, Name: wireguard})
		if err != nil {
			return err
		}
		c.processes = append(c.processes, process)
		if err := process.Says(ctx, "ready"); err != nil {
			return err
		}
		if _, err := end.host.Shell(ctx, fmt.Sprintf("ip addr add %s/24 dev %s; ip link set %s up", end.address, wireguardDevice, wireguardDevice)); err != nil {
			return err
		}
	}
	return nil
}
