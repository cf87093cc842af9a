package nat

import "github.com/openbmx/lightweight-tunnel/actors/message"

// Behaviour is how the NAT, or the chain of NATs, before this node treats its UDP.
type Behaviour = message.NAT

// Dependence says what a mapping or a filter takes into account of the remote
// endpoint. Direct is one of mappings only.
type Dependence = message.Dependence

// The dependences, from the friendliest to the strictest.
const (
	Unknown                 = message.Unknown
	Direct                  = message.Direct
	EndpointIndependent     = message.EndpointIndependent
	AddressDependent        = message.AddressDependent
	AddressAndPortDependent = message.AddressAndPortDependent
)
