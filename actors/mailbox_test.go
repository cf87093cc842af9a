package actors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestOfferNeverWaitsAndCountsWhatDidNotFit(t *testing.T) {
	box := NewMailbox[int]("numbers", 2)
	to := box.Ref()
	for i, want := range []bool{true, true, false, false} {
		if got := to.Offer(i); got != want {
			t.Fatalf("offer %d: %v", i, got)
		}
	}
	if box.Name() != "numbers" || box.Depth() != 2 || box.Capacity() != 2 || box.Dropped() != 2 {
		t.Fatalf("depth %d of %d, %d dropped", box.Depth(), box.Capacity(), box.Dropped())
	}
	if a, b := <-box.C(), <-box.C(); a != 0 || b != 1 {
		t.Fatalf("got %d and %d", a, b)
	}
}

func TestOfferAllocatesNothing(t *testing.T) {
	box := NewMailbox[int]("numbers", 1)
	to := box.Ref()
	if n := testing.AllocsPerRun(100, func() { to.Offer(1); to.Offer(2); <-box.C() }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestTheZeroRefLeadsNowhere(t *testing.T) {
	var to Ref[int]
	if to.Offer(1) {
		t.Fatal("offered to nobody")
	}
	if err := to.Send(t.Context(), 1); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
}

func TestSendWaitsForRoomUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := NewMailbox[int]("numbers", 1)
		to := box.Ref()
		to.Offer(1)
		sent := make(chan error)
		go func() { sent <- to.Send(t.Context(), 2) }()
		synctest.Wait()
		select {
		case <-sent:
			t.Fatal("sent into a full mailbox")
		default:
		}
		<-box.C()
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := to.Send(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

type question struct {
	n     int
	reply Reply[int]
}

func TestAskBringsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := NewMailbox[question]("questions", 1)
		go func() {
			q := <-box.C()
			q.reply.Answer(q.n * 2)
			q.reply.Answer(0) // a second answer is dropped and does not wait
		}()
		got, err := Ask(t.Context(), box.Ref(), func(r Reply[int]) question { return question{21, r} })
		if got != 42 || err != nil {
			t.Fatal(got, err)
		}
	})
}

func TestAskGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := NewMailbox[question]("questions", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Ask(ctx, box.Ref(), func(r Reply[int]) question { return question{1, r} })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		Reply[int]{}.Answer(1) // nobody asked
	})
}

func TestAPokeIsNeitherLostNorDoubled(t *testing.T) {
	p := NewPoke()
	for range 3 {
		p.Give()
	}
	<-p.C()
	select {
	case <-p.C():
		t.Fatal("three gives were two pokes")
	default:
	}
	p.Give()
	<-p.C()
}
