// Package contrib holds what helps a server to run beside other programs, so that the binary has it with it: here the
// unit for systemd. The files are complete as they are; whoever has them needs no part of this package.
package contrib

import _ "embed" // the unit

// Unit is jackdaw.service.
//
//go:embed jackdaw.service
var Unit string
