package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// placeholderHost stands where only the user knows what belongs there.
const placeholderHost = "SERVER_ADDRESS"

// Generate writes the configuration of a server to name and that of its first
// client to name + ".client", both with key, readable by the owner only. It
// overwrites nothing: if either file exists, neither is written.
func Generate(name, key string) error {
	type file struct {
		Mode       Mode   `json:"mode"`
		LocalAddr  string `json:"local_addr,omitempty"`
		RemoteAddr string `json:"remote_addr,omitempty"`
		TunnelAddr string `json:"tunnel_addr"`
		Key        string `json:"key"`
		MTU        int    `json:"mtu"`
	}
	client := name + ".client"
	for _, n := range []string{name, client} {
		if _, err := os.Lstat(n); err == nil {
			return fmt.Errorf("%s exists already and is left as it is; give another name or move it away", n)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := writeNew(name, file{Mode: Server, LocalAddr: "0.0.0.0:9000", TunnelAddr: "10.0.0.1/24", Key: key, MTU: 1400}); err != nil {
		return err
	}
	err := writeNew(client, file{Mode: Client, RemoteAddr: placeholderHost + ":9000", TunnelAddr: "10.0.0.2/24", Key: key, MTU: 1400})
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func writeNew(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(text, '\n')); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
