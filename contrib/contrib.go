// Package contrib holds what helps a server to run beside other programs, so that the binary has it with it: here the
// unit for systemd, and the configuration of the Debian package. The files are complete as
// they are; whoever has them needs no part of this package.
package contrib

import _ "embed" // the files

// Unit is jackdaw.service.
//
//go:embed jackdaw.service
var Unit string

// Configuration is jackdaw.yaml, which a package brings before anybody has said what to serve.
//
//go:embed jackdaw.yaml
var Configuration string
