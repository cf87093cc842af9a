package link

import "testing"

func TestLookingAgainGrowsWhileItPaysAndShrinksWhenItDoesNot(t *testing.T) {
	defer func(was bool) { alone = was }(alone)
	alone = false
	var s Spin
	looks := func() (vain int) {
		for s.Again(vain) {
			vain++
		}
		return vain
	}
	if n := looks(); n != 8 {
		t.Fatalf("%d looks at first", n)
	}
	s.Found(0) // it was there at once: nothing learned
	for _, want := range []int{16, 32, 64, 100, 100} {
		s.Found(1)
		if s.most != want {
			t.Fatalf("%d looks, want %d", s.most, want)
		}
	}
	for _, want := range []int{100, 50, 25, 12, 8, 8} {
		if n := looks(); n != want {
			t.Fatalf("%d looks, want %d", n, want)
		}
	}
}

func TestOnASingleProcessorNobodyLooksAgain(t *testing.T) {
	defer func(was bool) { alone = was }(alone)
	alone = true
	var s Spin
	s.Found(1)
	if s.Again(0) {
		t.Fatal("looks while the sender cannot run")
	}
}
