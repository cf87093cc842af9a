//go:build race

package node

// raceDetector makes what takes long take ten times as long.
const raceDetector = true
