// Package outbox holds what waits for peers: a queue for each pair of domains, in order, bounded in bytes, number and
// age, and on disk as far as it was acknowledged to somebody.
package outbox
