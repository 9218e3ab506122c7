//go:build nofence

package redis

// checkToken lets each batch in, whoever writes: a fence that is none. The tests must find it out.
const checkToken = `
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
`
