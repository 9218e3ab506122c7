package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/cluster"
)

// What the nodes of a cluster share lies beside the lease of a server without cluster (lease.go), in one hash tag: all
// requests are runs of one script, so each of them is atomic on a Cluster of masters too. The nodes hold that lease
// together while there are any, so a server without cluster is refused by the script that it always had, whichever
// version it is; and they refuse to join while such a server has it. Fences come from the same number as its fences.
//
// Time is that of Redis. Where a fail-over brings a Redis with another clock, leases end earlier or later by the
// difference; the grace is there for small ones.

// nodesHold is what stands in the lease of a server without cluster while nodes have it.
const nodesHold = "nodes: a cluster works on this prefix, see jackdaw nodes"

// nodesScript does what a node asks for. KEYS: the lease of a server without cluster, who had it last, the last fence,
// members (id → run and all of it), leases (id → end), marks (id → leaving, or expelled and by whom), silences (id →
// since when, and whom it does not hear), places (slot → fence and id), version. ARGV: op, id, run, ms of the lease, ms
// of the grace, the version that is known, the least fence, what the nodes hold; then of the op.
//
//	join: a run that may be replaced, all of the member     renew: whether it leaves, whom it does not hear
//	take: slot and fence of each       give: slot, fence and node of each       expel: who
var nodesScript = redis.NewScript(`
local op, id, run, grace = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local writes, changed = op ~= 'look', false
local function number(n) return string.format('%.0f', n) end
local leases = {}
local list = redis.call('HGETALL', KEYS[5])
for i = 1, #list, 2 do leases[list[i]] = tonumber(list[i + 1]) end
local function alive(n) return leases[n] and leases[n] + grace > now end
local function forget(n)
  for i = 4, 7 do redis.call('HDEL', KEYS[i], n) end
  leases[n], changed = nil, true
end
local last
local function fence()
  if not last then
    last = math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, now, tonumber(ARGV[7]) + 1)
    redis.call('SET', KEYS[3], number(last))
  end
  return number(last)
end
local function place(slot)
  local f, n = string.match(redis.call('HGET', KEYS[8], slot) or '0 ', '^(%d+) (.*)$')
  return f, n
end
local function put(slot, n)
  redis.call('HSET', KEYS[8], slot, fence() .. ' ' .. n)
  changed = true
end

local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 6) == 'nodes:' then held = false end
if writes and op ~= 'leave' and held then return {'single', held} end
local member = redis.call('HGET', KEYS[4], id)
local theirs = member and string.match(member, '^%S+')
if op == 'join' then
  if theirs ~= run then
    if member and alive(id) and theirs ~= ARGV[9] then return {'used', member} end
    local all = redis.call('HGETALL', KEYS[8])
    for i = 1, #all, 2 do
      local f, n = string.match(all[i + 1], '^(%d+) (.*)$')
      if n == id then redis.call('HSET', KEYS[8], all[i], f .. ' ') end
    end
    forget(id)
    redis.call('HSET', KEYS[4], id, run .. ' ' .. ARGV[10])
  end
elseif writes and (theirs ~= run or not leases[id] or op ~= 'leave' and leases[id] < now) then
  return {'gone'}
end

if writes then
  local mark = redis.call('HGET', KEYS[6], id)
  local expelled = mark and string.sub(mark, 1, 8) == 'expelled'
  if op == 'leave' then
    forget(id)
  elseif not expelled then
    leases[id] = now + tonumber(ARGV[4])
    redis.call('HSET', KEYS[5], id, number(leases[id]))
    if op == 'renew' then
      if ARGV[9] == '1' and not mark then
        redis.call('HSET', KEYS[6], id, 'leaving')
        changed = true
      end
      local before = string.match(redis.call('HGET', KEYS[7], id) or '0 ', '^%d+ (.*)$')
      if before ~= ARGV[10] then
        redis.call('HSET', KEYS[7], id, number(now) .. ' ' .. ARGV[10])
        changed = true
      end
    elseif op == 'take' then
      for i = 9, #ARGV, 2 do
        local f, n = place(ARGV[i])
        if f == ARGV[i + 1] and (n == id or not alive(n)) then put(ARGV[i], id) end
      end
    elseif op == 'give' then
      for i = 9, #ARGV, 3 do
        local f, n = place(ARGV[i])
        local to = ARGV[i + 2]
        if f == ARGV[i + 1] and n == id and alive(to) and redis.call('HEXISTS', KEYS[6], to) == 0 then
          put(ARGV[i], to)
        end
      end
    elseif op == 'expel' then
      local other = redis.call('HGET', KEYS[6], ARGV[9])
      if (redis.call('GET', KEYS[9]) or '0') == ARGV[6] and alive(ARGV[9]) and
          not (other and string.sub(other, 1, 8) == 'expelled') then
        redis.call('HSET', KEYS[6], ARGV[9], 'expelled ' .. id)
        changed = true
      end
    end
  end
  local gone = {}
  for n in pairs(leases) do if not alive(n) then gone[#gone + 1] = n end end
  for _, n in ipairs(gone) do forget(n) end
  local left = 0
  for _, e in pairs(leases) do left = math.max(left, e - now) end
  if left > 0 then
    redis.call('SET', KEYS[1], ARGV[8], 'PX', number(left))
    redis.call('SET', KEYS[2], ARGV[8])
  elseif not held then
    redis.call('DEL', KEYS[1])
  end
end

local version = tonumber(redis.call('GET', KEYS[9])) or 0
if changed then
  version = math.max(version + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
  redis.call('SET', KEYS[9], number(version))
end
local seats = {}
for n in pairs(leases) do
  if alive(n) then
    seats[#seats + 1] = {redis.call('HGET', KEYS[4], n), leases[n] - now, redis.call('HGET', KEYS[6], n) or '',
      now - tonumber(string.match(redis.call('HGET', KEYS[7], n) or number(now), '^%d+')),
      string.match(redis.call('HGET', KEYS[7], n) or '0 ', '^%d+ (.*)$')}
  end
end
local places = false
if number(version) ~= ARGV[6] then places = redis.call('HGETALL', KEYS[8]) end
return {'ok', number(version), seats, places}
`)

// Nodes implements cluster.Store. It has connections of its own, so that leases do not wait behind what is written.
type Nodes struct{ e *engine }

// OpenNodes connects, and writes nothing.
func OpenNodes(ctx context.Context, o Options) (*Nodes, error) {
	e, err := reach(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open redis at %s: %w", strings.Join(o.Addrs, ", "), advise(err, o.TLS != nil))
	}
	return &Nodes{e}, nil
}

// Close ends the connections. Leases run out by themselves.
func (n *Nodes) Close() error { return n.e.disconnect() }

// Look returns what is known of the nodes, for whoever is none.
func (n *Nodes) Look(ctx context.Context) (cluster.View, error) {
	return n.Do(ctx, cluster.Request{Op: cluster.OpLook})
}

func (e *engine) nodesKeys() []string {
	keys := e.leaseKeys()
	for _, kind := range []string{"members", "leases", "marks", "silences", "places", "version"} {
		keys = append(keys, e.key("server", "nodes", kind))
	}
	return keys
}

// Do implements cluster.Store. What is returned was on as many replicas as the options say.
func (n *Nodes) Do(ctx context.Context, r cluster.Request) (cluster.View, error) {
	args := []any{string(r.Op), r.Member.ID, r.Member.Run, r.Lease.Milliseconds(), r.Grace.Milliseconds(),
		strconv.FormatUint(r.Version, 10), strconv.FormatUint(r.Above, 10), nodesHold}
	switch r.Op {
	case cluster.OpJoin:
		member, err := json.Marshal(r.Member)
		if err != nil {
			return cluster.View{}, err
		}
		args = append(args, r.Replaces, member)
	case cluster.OpRenew:
		leaving := "0"
		if r.Leaving {
			leaving = "1"
		}
		args = append(args, leaving, strings.Join(r.Silent, " "))
	case cluster.OpTake, cluster.OpGive:
		for _, c := range r.Claims {
			args = append(args, c.Slot, strconv.FormatUint(c.Fence, 10))
			if r.Op == cluster.OpGive {
				args = append(args, c.To)
			}
		}
	case cluster.OpExpel:
		args = append(args, r.Other)
	}
	for _, id := range append([]string{r.Member.ID, r.Other}, r.Silent...) {
		if strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' }) {
			return cluster.View{}, fmt.Errorf("the id %q of a node holds a space", id)
		}
	}
	reply, err := n.run(ctx, args, r.Op != cluster.OpLook)
	if err != nil {
		return cluster.View{}, err
	}
	return readView(reply)
}

// run runs the script once, and again only where it has not run at all.
func (n *Nodes) run(ctx context.Context, args []any, write bool) (any, error) {
	keys := n.e.nodesKeys()
	for tries := 0; ; tries++ {
		master, err := n.e.single, error(nil)
		if n.e.cluster != nil {
			master, err = n.e.cluster.MasterForKey(ctx, keys[0])
		}
		if err != nil {
			return nil, err
		}
		reply, err := n.send(ctx, master, keys, args, write, tries > 0)
		switch {
		case tries == 0 && redis.HasErrorPrefix(err, "NOSCRIPT"):
			continue
		case err != nil && n.e.cluster != nil:
			n.e.cluster.ReloadState(ctx) // the slot may have moved
		}
		return reply, err
	}
}

func (n *Nodes) send(ctx context.Context, master *redis.Client, keys []string, args []any,
	write, whole bool) (any, error) {
	pipe := master.Pipeline()
	script := nodesScript.EvalSha
	if whole {
		script = nodesScript.Eval
	}
	command := script(ctx, pipe, keys, args...)
	var wait *redis.Cmd
	if write && n.e.o.WaitReplicas > 0 {
		patience := Patience / 2
		if end, ok := ctx.Deadline(); ok {
			patience = min(patience, time.Until(end)*3/4)
		}
		wait = pipe.Do(ctx, "WAIT", n.e.o.WaitReplicas, max(patience.Milliseconds(), 1))
	}
	_, err := pipe.Exec(ctx)
	reply, refused := command.Result()
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	if wait != nil {
		if err := enough(wait, n.e.o.WaitReplicas); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// errReply is an answer that no version gives.
var errReply = errors.New("redis gave an unknown answer to a node")

// readView reads what nodesScript returns.
func readView(reply any) (v cluster.View, err error) {
	list, _ := reply.([]any)
	if len(list) == 0 {
		return v, errReply
	}
	switch list[0] {
	case "gone":
		return v, cluster.ErrGone
	case "single":
		s, _ := list[1].(string)
		return v, &cluster.SingleError{Holder: decodeHolder(s).String()}
	case "used":
		s, _ := list[1].(string)
		return v, &cluster.UsedError{By: decodeMember(s)}
	}
	if len(list) < 3 {
		return v, errReply
	}
	version, _ := list[1].(string)
	if v.Version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return v, errReply
	}
	seats, _ := list[2].([]any)
	for _, s := range seats {
		f, _ := s.([]any)
		if len(f) < 5 {
			return v, errReply
		}
		member, _ := f[0].(string)
		left, _ := f[1].(int64)
		mark, _ := f[2].(string)
		since, _ := f[3].(int64)
		silent, _ := f[4].(string)
		seat := cluster.Seat{Member: decodeMember(member), Left: time.Duration(left) * time.Millisecond,
			Leaving: mark == "leaving", Silent: strings.Fields(silent), Since: time.Duration(since) * time.Millisecond}
		seat.Expelled, _ = strings.CutPrefix(mark, "expelled ")
		if seat.Expelled == mark {
			seat.Expelled = ""
		}
		v.Members = append(v.Members, seat)
	}
	slices.SortFunc(v.Members, func(a, b cluster.Seat) int { return strings.Compare(a.ID, b.ID) })
	if len(list) > 3 && list[3] != nil {
		v.Places, err = readPlaces(list[3])
	}
	return v, err
}

func decodeMember(s string) (m cluster.Member) {
	run, data, _ := strings.Cut(s, " ")
	_ = json.Unmarshal([]byte(data), &m) // what cannot be read stays empty
	m.Run = run
	return m
}

func readPlaces(reply any) (*[cluster.Slots]cluster.Place, error) {
	list, _ := reply.([]any)
	places := &[cluster.Slots]cluster.Place{}
	for i := 0; i+1 < len(list); i += 2 {
		slot, _ := list[i].(string)
		value, _ := list[i+1].(string)
		s, err := strconv.Atoi(slot)
		digits, node, ok := strings.Cut(value, " ")
		fence, err2 := strconv.ParseUint(digits, 10, 64)
		if err != nil || err2 != nil || !ok || s < 0 || s >= cluster.Slots {
			return nil, errReply
		}
		places[s] = cluster.Place{Node: node, Fence: fence}
	}
	return places, nil
}
