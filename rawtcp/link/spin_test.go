package link

import "testing"

func TestLookingAgainGrowsWhileItPaysAndShrinksWhenItDoesNot(t *testing.T) {
	var s Spin
	looks := func() (vain int) {
		for s.Again(vain) {
			vain++
		}
		return vain
	}
	if n := looks(); n != 2 {
		t.Fatalf("%d looks at first", n)
	}
	s.Found(0) // it was there at once: nothing learned
	for _, want := range []int{4, 8, 16, 32, 40, 40} {
		s.Found(1)
		if s.most != want {
			t.Fatalf("%d looks, want %d", s.most, want)
		}
	}
	for _, want := range []int{40, 20, 10, 5, 2, 2} {
		if n := looks(); n != want {
			t.Fatalf("%d looks, want %d", n, want)
		}
	}
}
