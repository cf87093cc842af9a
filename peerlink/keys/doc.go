// Package keys holds what makes a node itself and what lets it in: its key
// pair, the mesh key, the directory that both live in, and the roster that binds
// every overlay address to the node that first took it.
//
// The cores ([MeshKey], [Identity], [Roster], [Census]) are plain values.
// [Manager] is the one actor around them. Everything on disk is written whole or
// not at all, and never replaced because it could not be read: a damaged file is
// an error that names the file and the way out.
package keys
