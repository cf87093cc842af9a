// Package actors is the runtime under every node: typed bounded mailboxes,
// references that never block their user, and supervisors that restart what
// fails. It uses the standard library only and knows nothing of networks.
//
// # Actors
//
// An [Actor] is a loop that alone owns its state. It is run once; what a
// [Supervisor] restarts is a new actor made by [Spec].New, so nothing that a
// failure left half done is carried on. What has to outlive a restart, above
// all the [Mailbox], is made outside and handed to New.
//
// # Messages
//
// [Ref.Offer] never waits and may go anywhere. [Ref.Send] and [Ask] wait, so
// they go one way only, from root to leaf; otherwise a circle of actors could
// wait for each other. "Something changed" is a [Poke] and a re-read.
//
// # Failures
//
// A child fails by returning an error, by a panic, or because somebody reports
// it with [Supervisor.Fail]. It is restarted after a backoff, alone or with all
// its siblings ([Strategy]). Too many restarts in too short a time fail the
// supervisor itself, whose own supervisor then decides; the failure of the root
// ends the process.
package actors
