package node

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/node/config"
)

func TestANodeThatGetsAnotherInterfaceSaysThatItsIdentityIsAnother(t *testing.T) {
	usual := config.Config{Interface: "tun0"}
	asked, kept := usual, usual
	asked.InterfaceAsked, kept.StateDir = true, "/s"
	for _, c := range []struct {
		cfg    config.Config
		device string
		want   bool
	}{{usual, "tun0", false}, {usual, "tun1", true}, {asked, "tun0", false}, {kept, "tun1", false}} {
		var said bytes.Buffer
		warnOfOtherInterface(hclog.New(&hclog.LoggerOptions{Output: &said}), c.cfg, c.device)
		if got := strings.Contains(said.String(), "interface=tun1 state=/var/lib/lightweight-tunnel/tun1"); got != c.want || !c.want && said.Len() > 0 {
			t.Errorf("%+v on %s: it says %q", c.cfg, c.device, said.String())
		}
	}
}
