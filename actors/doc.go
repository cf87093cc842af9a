// Package actors is the runtime under every node: typed bounded mailboxes,
// references that never block their user, and supervisors that restart what
// fails. It uses the standard library only and knows nothing of networks.
package actors
