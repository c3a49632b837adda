-- lib/lanes: where ready tasks wait. A lane's list holds runs "first,count,us,cost,flags" in plan order:
-- us = expected time of the whole run (-1 unknown), cost = set-up that a split repeats (-1 unknown),
-- flags: n never split, s claimed singly. `cur` holds the rest of a run that a slot has begun;
-- `alone` the tasks that must be the only one on their worker (suspected of killing it).
local function parse_entry(text)
  local first, count, us, cost, flags = string.match(text, '^(%d+),(%d+),(-?%d+),(-?%d+),(%a*)$')
  return {first = tonumber(first), count = tonumber(count), us = tonumber(us), cost = tonumber(cost), flags = flags}
end
local function entry_text(e)
  return string.format('%d,%d,%.0f,%.0f,%s', e.first, e.count, e.us, e.cost, e.flags)
end
-- the set-up that a cut repeats: while the first test of a run is still at it, what others of this suite took
local function cut_cost(group, e)
  if e.cost >= 0 or group.wide_n == 0 then return e.cost end
  return group.wide_us / group.wide_n
end
local function never_split(e) return string.find(e.flags, 'n', 1, true) ~= nil end
local function single(e) return string.find(e.flags, 's', 1, true) ~= nil end

local function drop_from_index(lane)
  local zset = key('lanes', lane.j, lane.class)
  if call('ZREM', zset, lane.l) == 1 and call('EXISTS', zset) == 0 then
    local ready = key('ready', lane.class)
    call('ZREM', ready, lane.j)
    if call('EXISTS', ready) == 0 then call('SREM', key('classes'), lane.class) end
  end
end
local barren = {}      -- lanes that had nothing for this worker, as long as they do not change
-- makes the index tell the truth about one lane: slowest head first, stealing last
local function index_lane(job, lane)
  barren[lane.j .. ':' .. lane.l] = nil
  local group = group_of(lane.j, lane.group)
  local score
  if job_live(job) and gate_open(group) and lane.wait == '' then
    if call('EXISTS', key('alone', lane.j, lane.l)) == 1 then score = -1e15
    else
      local head = call('LINDEX', key('q', lane.j, lane.l), 0)
      if head then score = 0 - max(0, parse_entry(head).us)
      elseif call('EXISTS', key('cur', lane.j, lane.l)) == 1 then score = 1e12 end
    end
  end
  if not score then return drop_from_index(lane) end
  local zset = key('lanes', lane.j, lane.class)
  if tonumber(call('ZSCORE', zset, lane.l)) == score then return end -- then `ready` and `classes` are right as well
  call('ZADD', zset, score, lane.l)
  call('ZADD', key('ready', lane.class), 0 - job.priority, lane.j)
  call('SADD', key('classes'), lane.class)
end
local function joined(a, b)
  return {first = a.first, count = a.count + b.count, us = (a.us < 0 or b.us < 0) and -1 or a.us + b.us, cost = max(a.cost, b.cost), flags = a.flags}
end
-- what comes back to the head joins what is there of the run it came from: `follows` says whether the task before it is
-- of that run, `goes_on` whether the task after it is
local function put_back(job, lane, entry, at_front, follows, goes_on)
  local q = key('q', lane.j, lane.l)
  local head = (follows or goes_on) and not single(entry) and call('LINDEX', q, 0)
  if head then
    head = parse_entry(head)
    local after = goes_on and entry.first + entry.count == head.first
    if head.flags == entry.flags and (after or (follows and head.first + head.count == entry.first)) then
      call('LPOP', q)
      entry = after and joined(entry, head) or joined(head, entry)
    end
  end
  call(at_front and 'LPUSH' or 'RPUSH', q, entry_text(entry))
  index_lane(job, lane)
  if gate_open(group_of(lane.j, lane.group)) and lane.wait == '' then ring(lane.class, min(entry.count, 64), job) end
end
local function lock_list(locks)
  local list = {}
  for pool, n in string.gmatch(locks, '([^,=]+)=(%d+)') do list[#list + 1] = {pool = pool, n = tonumber(n)} end
  return list
end
local function reservation(pool)
  local who, until_ms = string.match(call('HGET', key('reserved'), pool) or '', '^(.*) (%d+)$')
  return who, tonumber(until_ms)
end
-- what a slot leaves unclaimed of its run goes back to the head of the lane
local function return_rest(worker, slot, j, l)
  local cur = key('cur', j, l)
  local text = call('HGET', cur, worker .. ':' .. slot)
  if not text then return end
  call('HDEL', cur, worker .. ':' .. slot)
  put_back(job_of(j), lane_of(j, l), parse_entry(text), true, true, false)
end

-- locks: pools are lists of free items; a lane that meets a taken one waits in that pool's zset
local AGE_GUARD = 30000
-- A reservation binds those that have not waited for longer. So the lane that has waited longest always gets what it
-- needs in the end, and two that have each reserved what the other needs do not wait for ever.
local function reserved_for_other(pool, lane)
  local me = lane.j .. ':' .. lane.l
  local who, until_ms = reservation(pool)
  if not who or who == me or until_ms <= NOW then return false end
  if lane.waiting_since == 0 then return true end
  local j, l = string.match(who, '^(.*):(%d+)$')
  local holder = lane_of(j, l)
  local since = holder and holder.waiting_since or 0
  return since > 0 and (since < lane.waiting_since or since == lane.waiting_since and who < me)
end
-- the pool that lacks something for this lane, or nil
local function lacking(lane)
  for _, lock in ipairs(lock_list(lane.locks)) do
    if call('LLEN', key('free', lock.pool)) < lock.n or reserved_for_other(lock.pool, lane) then return lock.pool end
  end
end
-- a lane that needs several things would starve among those that need one: after a while it reserves them, all or none
local function may_reserve(lane)
  if NOW - lane.waiting_since <= AGE_GUARD then return false end
  for _, lock in ipairs(lock_list(lane.locks)) do
    if reserved_for_other(lock.pool, lane) then return false end
  end
  return true
end
local function park(lane, pool)
  local me = lane.j .. ':' .. lane.l
  if lane.waiting_since == 0 then put(lane, 'waiting_since', NOW) end
  if may_reserve(lane) then
    for _, lock in ipairs(lock_list(lane.locks)) do
      call('HSET', key('reserved'), lock.pool, me .. ' ' .. int(NOW + AGE_GUARD))
    end
  end
  put(lane, 'wait', pool)
  call('ZADD', key('wait', pool), lane.waiting_since, me)
  drop_from_index(lane)
end
local function wake(pool)
  local waiters = call('ZRANGE', key('wait', pool), 0, 63)
  for _, me in ipairs(waiters) do
    local j, l = string.match(me, '^(.*):(%d+)$')
    call('ZREM', key('wait', pool), me)
    local lane, job = lane_of(j, l), job_of(j)
    if lane and job then
      put(lane, 'wait', '')
      index_lane(job, lane)
      ring(lane.class, 1, job)
    end
  end
  return #waiters
end
-- what was kept for one lane is there for the others again
local function unreserve(pool)
  if call('HDEL', key('reserved'), pool) == 1 and call('LLEN', key('free', pool)) > 0 then wake(pool) end
end
local function take_locks(lane)
  local held = {}
  for _, lock in ipairs(lock_list(lane.locks)) do
    local items = {}
    for i = 1, lock.n do items[i] = call('LPOP', key('free', lock.pool)) end
    held[#held + 1] = lock.pool .. '=' .. table.concat(items, '|')
    unreserve(lock.pool)
  end
  put(lane, 'waiting_since', 0)
  return table.concat(held, ';')
end
local function free_locks(held)
  for pool, items in string.gmatch(held, '([^;=]+)=([^;]*)') do
    for item in string.gmatch(items, '[^|]+') do call('RPUSH', key('free', pool), item) end
    wake(pool)
  end
end
local function forget_lane(lane)
  call('UNLINK', key('q', lane.j, lane.l), key('cur', lane.j, lane.l), key('alone', lane.j, lane.l), key('alone_by', lane.j, lane.l))
  if lane.wait ~= '' then call('ZREM', key('wait', lane.wait), lane.j .. ':' .. lane.l); put(lane, 'wait', '') end
  if lane.waiting_since > 0 then
    for _, lock in ipairs(lock_list(lane.locks)) do
      if reservation(lock.pool) == lane.j .. ':' .. lane.l then unreserve(lock.pool) end
    end
    put(lane, 'waiting_since', 0)
  end
  drop_from_index(lane)
end
-- a job that has ended needs its pools no more; the last one takes them along
local function release_pool(pool)
  if call('HINCRBY', key('pool_users'), pool, -1) > 0 then return end
  call('HDEL', key('pool_users'), pool); call('HDEL', key('pools'), pool); call('HDEL', key('reserved'), pool)
  call('UNLINK', key('free', pool), key('wait', pool))
end
