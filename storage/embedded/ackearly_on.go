//go:build ackearly

package embedded

// ackEarly finishes pendings before their group is written: a server that lies. The kill test must find it out.
const ackEarly = true
