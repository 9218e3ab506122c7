package redis

import "github.com/redis/go-redis/v9"

// These scripts read; what writes is in batch.go, owner.go and lease.go. In all scripts ids are written with %.0f: Lua
// would print them with 14 digits.

// headScript tells the number of records, their bytes and the last id, all without o, and o. Before there were blocks
// the number was that of the members of i. KEYS: meta, i, o.
var headScript = redis.NewScript(`
local meta = redis.call('HMGET', KEYS[1], 'n', 'b', 'last')
return {tonumber(meta[1]) or redis.call('ZCARD', KEYS[2]), tonumber(meta[2]) or 0, meta[3],
  redis.call('GET', KEYS[3])}
`)

// boundedScript reads a hash, unless it has more fields than may be. KEYS: a key. ARGV: how many.
var boundedScript = redis.NewScript(`
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return 0 end
return redis.call('HGETALL', KEYS[1])
`)

// value finds what d has for a member of i.
const value = `
local function value(d, member)
  local id, kind = string.match(member, '^(%d+)([:-])')
  return redis.call('HGET', d, kind == '-' and 'B' .. id or id)
end
`

// pageScript reads records and blocks that may have some of a page: from the one that ends above after, to the last one
// that begins below before. It returns whether there may be more of them, then o if it is next to them, then each
// member and what d has. KEYS: i, p, d, o. ARGV: peer, after, before, limit, backward, most bytes, and whether this
// goes on behind what was read before.
//
// A block stands in p under its name, as a record does, so its member is looked for.
var pageScript = redis.NewScript(value + `
local peer, after, before, limit, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
local backward, again, members = ARGV[5] == '1', ARGV[7] == '1', nil
if peer == '' then
  local from = '(' .. after
  local first = (backward or not again) and redis.call('ZREVRANGEBYSCORE', KEYS[1], after, '-inf', 'LIMIT', 0, 1)[1]
  if first and string.match(first, '^%d+%-') then from = string.match(first, '^%d+') end
  if backward then
    members = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(' .. before, from, 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGEBYSCORE', KEYS[1], from, '(' .. before, 'LIMIT', 0, limit)
  end
else
  local base = peer .. '\0'
  local at = base .. string.format('%016.0f', after)
  local from, to = '(' .. at, '(' .. base .. string.format('%016.0f', before)
  local first = (backward or not again) and redis.call('ZREVRANGEBYLEX', KEYS[2], '[' .. at, '[' .. base, 'LIMIT', 0, 1)[1]
  if first then from = '[' .. first end
  if backward then
    members = redis.call('ZREVRANGEBYLEX', KEYS[2], to, from, 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, limit)
  end
end
local out, bytes = {#members == limit and 1 or 0, ''}, 0
for _, m in ipairs(members) do
  if bytes > most then
    out[1] = 1
    break
  end
  if peer ~= '' then
    local id = string.format('%.0f', string.sub(m, -16))
    m = redis.call('ZRANGEBYSCORE', KEYS[1], id, id)[1]
  end
  local data = m and value(KEYS[3], m)
  if data then
    out[#out + 1] = m
    out[#out + 1] = data
    bytes = bytes + string.len(data)
  end
end
if backward and not again or not backward and out[1] == 0 then out[2] = redis.call('GET', KEYS[4]) end
return out
`)

// findScript finds what has the records of ids: of each the member of i with the greatest score that is not above, and
// of a block what d has, of a record by itself the number of bytes. KEYS: i, d. ARGV: ids.
var findScript = redis.NewScript(value + `
local out, seen = {}, {}
for _, id in ipairs(ARGV) do
  local m = redis.call('ZREVRANGEBYSCORE', KEYS[1], id, '-inf', 'LIMIT', 0, 1)[1]
  if m and not seen[m] then
    seen[m] = true
    local name, kind = string.match(m, '^(%d+)([:-])')
    if kind == '-' then
      out[#out + 1] = m
      out[#out + 1] = value(KEYS[2], m)
    elseif name == id then
      out[#out + 1] = m
      out[#out + 1] = redis.call('HSTRLEN', KEYS[2], id)
    end
  end
end
return out
`)

// getScript reads what may have one record. KEYS: i, d, three of x, o. ARGV: id, or 0 and a dedup value. It returns the
// id if it is known, the member and what d has, and o, which may know it.
var getScript = redis.NewScript(value + `
local id = ARGV[1]
if ARGV[2] ~= '' then
  id = false
  for k = 3, 5 do id = id or redis.call('HGET', KEYS[k], ARGV[2]) end
end
local m = id and redis.call('ZREVRANGEBYSCORE', KEYS[1], id, '-inf', 'LIMIT', 0, 1)[1]
return {id or false, m or false, m and value(KEYS[2], m) or false, redis.call('GET', KEYS[6])}
`)

// oldestScript finds the oldest records and blocks: of each the member, and of a record by itself the number of bytes,
// of a block that reaches further what d has, and of others 0. KEYS: i, d. ARGV: below which id, how many at most.
var oldestScript = redis.NewScript(value + `
local out, before = {}, tonumber(ARGV[1])
for _, m in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local last = string.match(m, '^%d+%-(%d+)')
  out[#out + 1] = m
  if not last then
    out[#out + 1] = redis.call('HSTRLEN', KEYS[2], string.match(m, '^%d+'))
  else
    out[#out + 1] = tonumber(last) >= before and value(KEYS[2], m) or 0
  end
end
return out
`)

// kindsScript tells of fields of a map whether they live, "L", or are kept as deleted, "D". KEYS: map. ARGV: fields.
var kindsScript = redis.NewScript(`
local out = {}
for _, field in ipairs(ARGV) do
  local old = redis.call('HGET', KEYS[1], field)
  out[#out + 1] = old and string.match(old, '^%d+:(.)') or ''
end
return out
`)

// mapScript tells the version of a map, its floor and the number of keys kept as deleted; and all that it has, unless
// that is too much. KEYS: map. ARGV: most fields.
var mapScript = redis.NewScript(`
local state = redis.call('HMGET', KEYS[1], 'v', 'f', 'n')
local all = 0
if redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[1]) then all = redis.call('HGETALL', KEYS[1]) end
return {state[1] or '0', state[2] or '0', state[3] or '0', all}
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

// memberScript puts a member into a set from which none is removed, so that it may come late, or twice. KEYS: a set.
// ARGV: the member.
var memberScript = redis.NewScript(`return redis.call('SADD', KEYS[1], ARGV[1])`)

// membersScript lists a set. KEYS: a set.
var membersScript = redis.NewScript(`return redis.call('SMEMBERS', KEYS[1])`)
