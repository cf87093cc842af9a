package nat

import "slices"

// stepReach is the largest distance between neighbouring ports that still counts
// as one step or a few: others behind the same NAT take ports meanwhile.
const stepReach = 64

// portStep finds the constant step of ports given out about one after the other;
// 0 if there is none. Packets overtake each other and get lost, so not the order
// of asking counts but what lies between the ports; the order gives the sign.
// Two random ports pass for a step in 1 of 500 cases, more hardly ever.
func portStep(ports []uint16) int {
	var distinct []uint16
	for _, p := range ports {
		if !slices.Contains(distinct, p) {
			distinct = append(distinct, p)
		}
	}
	if len(distinct) < 2 {
		return 0
	}
	// Distances from the first port, which stand wraps around 65536.
	offsets := make([]int, len(distinct))
	rising := 0
	for i, p := range distinct {
		offsets[i] = int(int16(p - distinct[0]))
		if i > 0 {
			if int16(p-distinct[i-1]) > 0 {
				rising++
			} else {
				rising--
			}
		}
	}
	slices.Sort(offsets)
	step, exact := 0, 0
	for i := 1; i < len(offsets); i++ {
		gap := offsets[i] - offsets[i-1]
		if gap > stepReach {
			return 0
		}
		step = gcd(gap, step)
	}
	for i := 1; i < len(offsets); i++ {
		if offsets[i]-offsets[i-1] == step {
			exact++
		}
	}
	if 2*exact < len(offsets)-1 {
		return 0 // random within a block of ports
	}
	if rising < 0 {
		return -step
	}
	return step
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
