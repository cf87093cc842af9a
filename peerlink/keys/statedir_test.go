package keys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestStateDirIsMadeForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	openDir(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	openDir(t, open)
	if info, _ := os.Stat(open); info.Mode().Perm() != 0o700 {
		t.Fatalf("an open directory stays %v", info.Mode())
	}
}

func TestStateDirIsForOneNodeAtATime(t *testing.T) {
	path := t.TempDir()
	first, err := OpenStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenStateDir(path)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Fatalf("second node: %v", err)
	}
	if want := fmt.Sprintf("process %d", os.Getpid()); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--state-dir") {
		t.Fatalf("%v", err)
	}
	first.Close()
	openDir(t, path)
}

// TestStateDirHolder is not a test: it is the other process of the test below.
func TestStateDirHolder(t *testing.T) {
	path := os.Getenv("STATE_DIR_OF_HOLDER")
	if path == "" {
		t.Skip("runs as a child only")
	}
	if _, err := OpenStateDir(path); err != nil {
		t.Fatal(err)
	}
	fmt.Println("locked")
	select {}
}

func TestStateDirIsFreeAfterItsHolderWasKilled(t *testing.T) {
	path := t.TempDir()
	holder := exec.Command(os.Args[0], "-test.run=^TestStateDirHolder$")
	holder.Env = append(os.Environ(), "STATE_DIR_OF_HOLDER="+path)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Process.Kill()
	line := make([]byte, len("locked"))
	if _, err := out.Read(line); err != nil || string(line) != "locked" {
		t.Fatalf("%q %v", line, err)
	}
	_, err = OpenStateDir(path)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != holder.Process.Pid {
		t.Fatalf("%v, holder is %d", err, holder.Process.Pid)
	}
	holder.Process.Kill() // SIGKILL
	holder.Wait()
	openDir(t, path)
}

func TestStateFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := openDir(t, t.TempDir())
	for _, text := range []string{"one", "two is longer", "3"} {
		if err := dir.Write("f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(dir.Path("f"))
		info, _ := os.Stat(dir.Path("f"))
		if string(got) != text || info.Mode().Perm() != 0o600 {
			t.Fatalf("%q %v", got, info.Mode())
		}
	}
	// What a killed process left behind is in nobody's way.
	os.WriteFile(dir.Path("f.new"), []byte("half of somethi"), 0o600)
	if got, _ := os.ReadFile(dir.Path("f")); string(got) != "3" {
		t.Fatalf("%q", got)
	}
	if err := dir.Write("f", []byte("4")); err != nil {
		t.Fatal(err)
	}
	// A directory in the way makes the rename fail: the error names the file.
	if err := os.Mkdir(dir.Path("d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write("d", nil); err == nil || !strings.Contains(err.Error(), dir.Path("d")) {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(dir.Path("d.new")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a failed write leaves its temporary file")
	}
}
