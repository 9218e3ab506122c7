//go:build !nofence

package redis

// checkToken is what refuses a batch with another token than is there.
const checkToken = `
local old = redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3], 'GET')
if old ~= ARGV[1] then
  if old then redis.call('SET', KEYS[1], old, 'PX', ARGV[3]) else redis.call('DEL', KEYS[1]) end
  return old or ''
end
`
