//go:build ackearly

package redis

// ackEarly finishes pendings before Redis has replied: a server that lies. The tests must find it out.
const ackEarly = true
