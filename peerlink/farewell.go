package peerlink

import "strings"

// seedPrefix begins the names of the actors that dial seeds.
const seedPrefix = "seed/"

// StopDialing ends the actors of all seeds, and waits for nothing. It is for a
// node that is about to stop: the others close their links as soon as they hear
// of it, and a seed's actor would make a new one at once. Links that are up stay.
func (d *Directory) StopDialing() {
	sup := d.sup.Load()
	if sup == nil {
		return
	}
	for _, child := range sup.Tree().Children {
		if strings.HasPrefix(child.Name, seedPrefix) {
			_ = sup.StopSoon(child.Name) // it may be gone already
		}
	}
}
