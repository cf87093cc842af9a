package keys

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// holder starts a process that holds the state directory.
func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStateDirHolder$")
	cmd.Env = append(os.Environ(), "STATE_DIR_OF_HOLDER="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, len("locked"))
	if _, err := out.Read(line); err != nil || string(line) != "locked" {
		t.Fatalf("%q %v", line, err)
	}
	return cmd
}

// Nobody waits for the killed process here: that is what is tested.
func TestTheNextNodeWaitsForAKilledOneToBeGone(t *testing.T) {
	for range 10 {
		path := t.TempDir()
		cmd := holder(t, path)
		if dying(cmd.Process.Pid) {
			t.Fatal("the holder counts as dying while it lives")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if !dying(cmd.Process.Pid) {
			t.Fatal("a killed process does not count as dying")
		}
		AwaitDying(path, 10*time.Second)
		openDir(t, path)
	}
}

func TestNobodyWaitsForANodeThatLives(t *testing.T) {
	path := t.TempDir()
	AwaitDying(path, time.Hour) // nobody ever held it
	holder(t, path)
	AwaitDying(path, time.Hour)
	if _, err := OpenStateDir(path); err == nil {
		t.Error("the directory of a living node was opened")
	}
}
