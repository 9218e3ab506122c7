package redis

import "github.com/redis/go-redis/v9"

// In all scripts ids are written with %.0f: Lua would print them with 14 digits. A write first looks for the reply that
// its token kept, and keeps the reply last.

// appendScript appends a record, unless its dedup value is known or the owner is full.
// KEYS: token, meta, i, p, d, x today, x yesterday, x tomorrow.
// ARGV: token life, now, peer, data, dedup, max records, max bytes, dedup life, fair, at.
// fair is storage.Fair.
var appendScript = redis.NewScript(`
local reply = redis.call('GET', KEYS[1])
if reply then return reply end
local function finish(reply)
  redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
  return reply
end
if ARGV[5] ~= '' then
  for k = 6, 8 do
    local id = redis.call('HGET', KEYS[k], ARGV[5])
    if id then return finish(id .. ' dup') end
  end
end
local maxn, maxb, size = tonumber(ARGV[6]), tonumber(ARGV[7]), string.len(ARGV[4])
local meta = redis.call('HMGET', KEYS[2], 'last', 'b')
if maxn > 0 and redis.call('ZCARD', KEYS[3]) + 1 > maxn then return finish('full') end
if maxb > 0 and (tonumber(meta[2]) or 0) + size > maxb then return finish('full') end
if ARGV[9] == '1' and ARGV[3] ~= '' then
  local n, b = redis.call('ZCARD', KEYS[3]), tonumber(meta[2]) or 0
  local function fair(most, all, own, more)
    return most == 0 or all == 0 and more <= most or 3 * (own + more) <= most - all - more
  end
  local function fits(own, bytes) return fair(maxn, n, own, 1) and fair(maxb, b, bytes, size) end
  if not fits(n, b) then
    local own, bytes, base = 0, 0, '[' .. ARGV[3] .. '\0'
    for _, m in ipairs(redis.call('ZRANGEBYLEX', KEYS[4], base, base .. '9999999999999999')) do
      own = own + 1
      bytes = bytes + redis.call('HSTRLEN', KEYS[5], string.format('%.0f', string.sub(m, -16)))
    end
    if not fits(own, bytes) then return finish('full') end
  end
end
local last, at = tonumber(meta[1]) or 0, tonumber(ARGV[10])
if at > 0 and at <= last then return finish('late') end
local id = string.format('%.0f', at > 0 and at or math.max(last + 1, tonumber(ARGV[2])))
redis.call('HSET', KEYS[2], 'last', id)
redis.call('HINCRBY', KEYS[2], 'b', size)
redis.call('ZADD', KEYS[3], id, id .. ':' .. ARGV[3])
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[3] .. '\0' .. string.format('%016.0f', id)) end
redis.call('HSET', KEYS[5], id, ARGV[4])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[6], ARGV[5], id)
  redis.call('PEXPIRE', KEYS[6], ARGV[8])
end
return finish(id)
`)

// pageScript reads a page of records. KEYS: i, p, d. ARGV: peer, after, before, limit, backward.
var pageScript = redis.NewScript(`
local out, limit, backward = {}, ARGV[4], ARGV[5] == '1'
if ARGV[1] == '' then
  local members
  if backward then
    members = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(' .. ARGV[3], '(' .. ARGV[2], 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '(' .. ARGV[3], 'LIMIT', 0, limit)
  end
  for _, m in ipairs(members) do
    out[#out + 1] = m
    out[#out + 1] = redis.call('HGET', KEYS[3], string.match(m, '^%d+'))
  end
else
  local base = '(' .. ARGV[1] .. '\0'
  local from, to = base .. string.format('%016.0f', ARGV[2]), base .. string.format('%016.0f', ARGV[3])
  local members
  if backward then
    members = redis.call('ZREVRANGEBYLEX', KEYS[2], to, from, 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, limit)
  end
  for _, m in ipairs(members) do
    local id = string.format('%.0f', string.sub(m, -16))
    out[#out + 1] = id .. ':' .. ARGV[1]
    out[#out + 1] = redis.call('HGET', KEYS[3], id)
  end
end
return out
`)

// getScript reads one record. KEYS: i, d, three of x. ARGV: id, or 0 and a dedup value.
var getScript = redis.NewScript(`
local id = ARGV[1]
if ARGV[2] ~= '' then
  id = false
  for k = 3, 5 do id = id or redis.call('HGET', KEYS[k], ARGV[2]) end
  if not id then return false end
end
local data = redis.call('HGET', KEYS[2], id)
if not data then return false end
return {redis.call('ZRANGEBYSCORE', KEYS[1], id, id)[1], data}
`)

// drop deletes the record of a member of i. KEYS: meta, i, p, d.
const drop = `
local function drop(member)
  local id, peer = string.match(member, '^(%d+):(.*)$')
  local size = redis.call('HSTRLEN', KEYS[4], id)
  redis.call('ZREM', KEYS[2], member)
  if peer ~= '' then redis.call('ZREM', KEYS[3], peer .. '\0' .. string.format('%016.0f', id)) end
  redis.call('HDEL', KEYS[4], id)
  redis.call('HINCRBY', KEYS[1], 'b', -size)
end
`

// removeScript removes records of the keys of drop. ARGV: ids.
var removeScript = redis.NewScript(drop + `
for _, id in ipairs(ARGV) do
  if tonumber(id) < 9007199254740992 then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], id, id)) do drop(member) end
  end
end
return 0
`)

// replaceScript gives a record other data. KEYS: meta, i, d. ARGV: id, data.
var replaceScript = redis.NewScript(`
if not redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], ARGV[1])[1] then return 0 end
local size = redis.call('HSTRLEN', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'b', string.len(ARGV[2]) - size)
return 1
`)

// trimScript removes the oldest records of the keys of drop. ARGV: before, how many at once. It reads no data: HSTRLEN
// tells its size.
var trimScript = redis.NewScript(drop + `
local before, most, n = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, most - 1)) do
  if tonumber(string.match(member, '^%d+')) >= before then break end
  drop(member)
  n = n + 1
end
return n
`)

// sizeScript tells the number of records and their bytes. KEYS: meta, i.
var sizeScript = redis.NewScript(`
return {redis.call('ZCARD', KEYS[2]), tonumber(redis.call('HGET', KEYS[1], 'b')) or 0}
`)

var unlinkScript = redis.NewScript(`
for _, key in ipairs(KEYS) do redis.call('UNLINK', key) end
return 0
`)

// updateScript changes a map, which is one hash: v (version), f (deletions up to this version are forgotten), n (keys
// kept as deleted), and for each key "k" and its name → version, ":", "L" (lives) or "D", value.
//
// KEYS: token, map. ARGV: token life, wanted version or '*', most deleted keys, then
// key, 'L' or 'D', value.
var updateScript = redis.NewScript(`
local reply = redis.call('GET', KEYS[1])
if reply then return reply end
local function finish(reply)
  redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
  return reply
end
local state = redis.call('HMGET', KEYS[2], 'v', 'f', 'n')
local version, floor, gone = tonumber(state[1]) or 0, tonumber(state[2]) or 0, tonumber(state[3]) or 0
if ARGV[2] ~= '*' and tonumber(ARGV[2]) ~= version then return finish('conflict') end
if #ARGV == 3 then return finish(string.format('%.0f', version)) end
version = version + 1
local v = string.format('%.0f', version)
for i = 4, #ARGV, 3 do
  local field = 'k' .. ARGV[i]
  local old = redis.call('HGET', KEYS[2], field)
  local kind = old and string.match(old, '^%d+:(.)')
  if ARGV[i + 1] == 'L' then
    if kind == 'D' then gone = gone - 1 end
    redis.call('HSET', KEYS[2], field, v .. ':L' .. ARGV[i + 2])
  elseif kind == 'L' then
    gone = gone + 1
    redis.call('HSET', KEYS[2], field, v .. ':D')
  end
end
if gone > tonumber(ARGV[3]) then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local at = string.sub(all[i], 1, 1) == 'k' and tonumber(string.match(all[i + 1], '^(%d+):D'))
    if at and at < version then
      redis.call('HDEL', KEYS[2], all[i])
      gone, floor = gone - 1, math.max(floor, at)
    end
  end
end
redis.call('HSET', KEYS[2], 'v', v, 'f', string.format('%.0f', floor), 'n', gone)
return finish(v)
`)

// mapSizeScript tells the number of keys of a map and their bytes. KEYS: map.
var mapSizeScript = redis.NewScript(`
local keys, bytes = 0, 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 1) == 'k' then
    local head = string.match(redis.call('HGET', KEYS[1], field), '^%d+:L')
    if head then
      keys = keys + 1
      bytes = bytes + string.len(field) - 1 + redis.call('HSTRLEN', KEYS[1], field) - string.len(head)
    end
  end
end
return {keys, bytes}
`)

// createScript creates an account. KEYS: token, h, z. ARGV: token life, name, account.
var createScript = redis.NewScript(`
local reply = redis.call('GET', KEYS[1])
if reply then return reply end
reply = 'ok'
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 0 then reply = 'exists' end
redis.call('ZADD', KEYS[3], 0, ARGV[2])
redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
return reply
`)

// swapScript changes an account. KEYS: token, h. ARGV: token life, name, what it must be, what it shall be.
var swapScript = redis.NewScript(`
local reply = redis.call('GET', KEYS[1])
if reply then return reply end
local now = redis.call('HGET', KEYS[2], ARGV[2])
if not now then reply = 'gone'
elseif now ~= ARGV[3] then reply = 'changed'
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
  reply = 'ok'
end
redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
return reply
`)

// deleteScript deletes an account. KEYS: token, h, z. ARGV: token life, name.
var deleteScript = redis.NewScript(`
local reply = redis.call('GET', KEYS[1])
if reply then return reply end
reply = 'gone'
if redis.call('HDEL', KEYS[2], ARGV[2]) == 1 then reply = 'ok' end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
return reply
`)

// listScript lists accounts. KEYS: h, z. ARGV: the least name in the notation of ZRANGEBYLEX, limit.
var listScript = redis.NewScript(`
local out = {}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  out[#out + 1] = redis.call('HGET', KEYS[1], name)
end
return out
`)

// readScript reads a field of a hash, or all. KEYS: a key. ARGV: a field; or none for the whole hash.
var readScript = redis.NewScript(`
if ARGV[1] then return redis.call('HGET', KEYS[1], ARGV[1]) end
return redis.call('HGETALL', KEYS[1])
`)

// domainsScript knows the domains that have accounts. KEYS: a set. ARGV: a member to add; or none to list.
var domainsScript = redis.NewScript(`
if ARGV[1] then return redis.call('SADD', KEYS[1], ARGV[1]) end
return redis.call('SMEMBERS', KEYS[1])
`)
