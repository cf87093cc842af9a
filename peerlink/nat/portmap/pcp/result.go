package pcp

import "fmt"

// Result is a result code (RFC 6887, 7.4). All but Success are errors.
type Result uint8

const (
	Success Result = iota
	UnsuppVersion
	NotAuthorized
	MalformedRequest
	UnsuppOpcode
	UnsuppOption
	MalformedOption
	NetworkFailure
	NoResources
	UnsuppProtocol
	UserExQuota
	CannotProvideExternal
	AddressMismatch
	ExcessiveRemotePeers
)

var words = [...]string{
	Success:               "success",
	UnsuppVersion:         "the version is not supported",
	NotAuthorized:         "not authorized",
	MalformedRequest:      "the request is malformed",
	UnsuppOpcode:          "the opcode is not supported",
	UnsuppOption:          "the option is not supported",
	MalformedOption:       "the option is malformed",
	NetworkFailure:        "the router has no connection",
	NoResources:           "no resources left",
	UnsuppProtocol:        "the protocol is not supported",
	UserExQuota:           "this host has too many mappings",
	CannotProvideExternal: "the external address or port cannot be had",
	AddressMismatch:       "there is another NAT on the way to the router",
	ExcessiveRemotePeers:  "too many remote peers",
}

// Error says in words what the router said.
func (r Result) Error() string {
	if int(r) < len(words) {
		return words[r]
	}
	return fmt.Sprintf("result code %d", uint8(r))
}
