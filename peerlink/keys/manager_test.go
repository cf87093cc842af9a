package keys

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// managed is a running manager and the far ends of its mailboxes.
type managed struct {
	t       *testing.T
	box     *actors.Mailbox[message.ToKeys]
	answers *actors.Mailbox[message.ToPeers]
	log     *bytes.Buffer // to be read after synctest.Wait
	stop    func()
}

func manage(t *testing.T, book *RosterBook, most int) *managed {
	m := &managed{t: t, box: actors.NewMailbox[message.ToKeys]("keys", 16),
		answers: actors.NewMailbox[message.ToPeers]("peers", 16), log: new(bytes.Buffer)}
	a, err := NewManager(ManagerConfig{Book: book, Self: self, MaxClients: most, Mailbox: m.box,
		Log: hclog.New(&hclog.LoggerOptions{Output: m.log, Level: hclog.Info})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	m.stop = func() { cancel(); <-done }
	return m
}

func (m *managed) authorize(h message.Hello) string {
	m.t.Helper()
	m.box.Ref().Offer(message.Authorize{Hello: h, Token: 7, Reply: m.answers.Ref()})
	a := (<-m.answers.C()).(message.Authorized)
	if a.Token != 7 || a.Node != h.ID {
		m.t.Fatalf("answer to another question: %+v", a)
	}
	return a.Refusal
}

func TestManagerAnswersEachQuestionAndSavesWhatItBound(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, err := OpenRosterBook(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := manage(t, book, 100)
		defer m.stop()
		if why := m.authorize(hello(2, "office", "10.0.0.9/24")); why != "" {
			t.Fatal(why)
		}
		for range 3 {
			if why := m.authorize(hello(3, "thief", "10.0.0.9/24")); !strings.Contains(why, "taken by office") {
				t.Fatalf("%q", why)
			}
		}
		synctest.Wait()
		if n := strings.Count(m.log.String(), "node refused"); n != 1 {
			t.Fatalf("the refusal is logged %d times:\n%s", n, m.log)
		}
		// Time passes, then the process is killed: nothing else is needed.
		<-time.After(2 * saveDelay)
		synctest.Wait()
		again, err := OpenRosterBook(dir)
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := again.Roster().Holder(netip.MustParseAddr("10.0.0.9")); !ok || e.ID != nodeID(2) {
			t.Fatalf("not on disk: %+v", e)
		}
	})
}

func TestManagerSavesBeforeItEnds(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, _ := OpenRosterBook(dir)
		m := manage(t, book, 0)
		m.box.Ref().Offer(message.Witnessed{Advert: message.Advert{ID: nodeID(2), Name: "office", Addresses: prefixes("10.0.0.9/24")}})
		synctest.Wait()
		m.stop()
		if again, err := OpenRosterBook(dir); err != nil || again.Roster().Len() != 1 {
			t.Fatalf("%v", err)
		}
	})
}

func TestRestartedManagerGoesOnWhereTheLastOneStood(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, _ := OpenRosterBook(dir)
		first := manage(t, book, 100)
		first.authorize(hello(2, "office", "10.0.0.9/24"))
		first.stop()
		second := manage(t, book, 100)
		defer second.stop()
		if why := second.authorize(hello(3, "thief", "10.0.0.9/24")); why == "" {
			t.Fatal("the binding was lost")
		}
	})
}

func TestManagerKeepsToMaxClients(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, _ := OpenRosterBook(dir)
		m := manage(t, book, 1)
		defer m.stop()
		if why := m.authorize(hello(2, "office", "10.0.0.9/24")); why != "" {
			t.Fatal(why)
		}
		if why := m.authorize(hello(3, "nas", "10.0.0.12/24")); !strings.Contains(why, "mesh full") {
			t.Fatalf("%q", why)
		}
		if _, bound := book.Roster().Node(nodeID(3)); bound {
			t.Fatal("a refused node was bound to its address")
		}
		<-time.After(presence + time.Second)
		if why := m.authorize(hello(3, "nas", "10.0.0.12/24")); why != "" {
			t.Fatalf("the first is gone: %s", why)
		}
	})
}

func TestManagerWorksOnAndTriesAgainWhileTheDiskRefuses(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, _ := OpenRosterBook(dir)
		if err := os.Mkdir(dir.Path(rosterFile), 0o700); err != nil { // rename onto it fails
			t.Fatal(err)
		}
		m := manage(t, book, 0)
		defer m.stop()
		if why := m.authorize(hello(2, "office", "10.0.0.9/24")); why != "" {
			t.Fatal(why)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if n := strings.Count(m.log.String(), "roster cannot be saved"); n != 1 {
			t.Fatalf("said %d times:\n%s", n, m.log)
		}
		if err := os.Remove(dir.Path(rosterFile)); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * saveRetry)
		synctest.Wait()
		if again, err := OpenRosterBook(dir); err != nil || again.Roster().Len() != 1 {
			t.Fatalf("%v", err)
		}
	})
}

func TestManagerWarnsOfItsOwnTakenAddress(t *testing.T) {
	dir := openDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		book, _ := OpenRosterBook(dir)
		r, _ := Roster{}.Admit(day, Self{ID: nodeID(50)}, hello(2, "office", "10.0.0.1/24"))
		book.now.Store(&r)
		m := manage(t, book, 0)
		defer m.stop()
		synctest.Wait()
		if !strings.Contains(m.log.String(), "own address is bound to another node") {
			t.Fatalf("%s", m.log)
		}
	})
}
