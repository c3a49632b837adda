-- lib/choose: which tasks a free slot gets: priority, then fair share of submitters and jobs (with
-- stickiness), then the lane with the slowest head whose gate is open and whose locks are free.
local STICKY_MS = 3000
local MAX_JOBS = 200
local looks = 200      -- lanes a script looks at in vain before it gives up

local eligible
local function classes_for(profile)
  if not eligible then
    eligible = {}
    for _, class in ipairs(call('SMEMBERS', key('classes'))) do
      if satisfies(profile, class) then eligible[#eligible + 1] = class end
    end
  end
  return eligible
end
-- at most MAX_JOBS of the highest priorities; where more are equal, each call looks at another stretch of them
local function ready_jobs(class)
  local ready = key('ready', class)
  local list = call('ZRANGE', ready, 0, MAX_JOBS - 1, 'WITHSCORES')
  local found, from = {}, 0
  if #list == 2 * MAX_JOBS and tonumber(list[2]) == tonumber(list[#list]) then
    from = num(call('HGET', KEYS[1], 'fence')) * 7 % call('ZCOUNT', ready, list[2], list[2])
    if from > 0 then list = call('ZRANGE', ready, from, from + MAX_JOBS - 1, 'WITHSCORES') end
  end
  for i = 1, #list, 2 do found[#found + 1] = list[i] end
  return found
end
local function read_shares(list)
  local names = {}
  for _, job in ipairs(list) do names[#names + 1] = 'j:' .. job.id; names[#names + 1] = 's:' .. job.submitter end
  for from = 1, #names, 1000 do
    local values = call('HMGET', key('occupied'), unpack(names, from, min(#names, from + 999)))
    for i, value in ipairs(values) do occupied_cache[names[from + i - 1]] = num(value) end
  end
end
-- jobs with something ready for this worker, read once a script
local field
local function contenders(worker)
  if field then return field end
  field = {}
  local seen = {}
  for _, class in ipairs(classes_for(worker.labels)) do
    for _, j in ipairs(ready_jobs(class)) do
      local job = not seen[j] and job_of(j)
      seen[j] = true
      if job and job_live(job) and not has_refused(worker, job) then field[#field + 1] = job end
    end
  end
  read_shares(field)
  return field
end
local function before(a, b)
  if a.priority ~= b.priority then return a.priority > b.priority end
  if a.theirs ~= b.theirs then return a.theirs < b.theirs end
  if a.share ~= b.share then return a.share < b.share end
  if a.created ~= b.created then return a.created < b.created end
  return a.id < b.id
end
-- Shares as they are without this slot. The first in turn is the best, except that a slot stays with its job until its
-- submitter (or, among the same submitter's jobs, its job) is over share by a whole slot and some seconds have passed.
local function weigh(want, slot)
  local list, best, mine = {}, nil, nil
  local held = slot.n > 0 and job_of(slot.j)
  local stays = held and slot.j or want.job
  for _, job in ipairs(contenders(want.worker)) do
    local own = held and held.id == job.id
    if job.max_slots == 0 or own or occupied('j:' .. job.id) < job.max_slots then
      job.theirs = occupied('s:' .. job.submitter) - ((held and held.submitter == job.submitter) and 1 or 0)
      job.share = (occupied('j:' .. job.id) - (own and 1 or 0)) / max(1, job.weight)
      list[#list + 1] = job
      if not best or before(job, best) then best = job end
      if job.id == stays then mine = job end
    end
  end
  if not mine or mine == best or mine.priority ~= best.priority then return list, best end
  if want.with_ms < STICKY_MS then return list, mine end
  if mine.theirs > best.theirs then return list, best end
  for _, job in ipairs(list) do
    if job.submitter == mine.submitter and job.priority == mine.priority and job.share < mine.share then return list, best end
  end
  return list, mine
end

-- how many tasks of about `us` each this slot may take: a stretch of work, less at the tail so that nobody hoards, but
-- not less than what a cut costs (`cost`, the set-up that it repeats)
local function portion(want, group, us, cost)
  if us < 0 then us = group.done_n > 0 and group.done_us / group.done_n or -1 end
  if us < 0 then return cost > 0 and max(1, min(want.max, ceil(group.ready / (8 * max(1, META.slots))))) or 1 end
  local by_time = max(1, floor(want.budget / max(us, 1)))
  local fair = ceil(group.ready / (2 * max(1, META.slots)))
  local worth = cost > 0 and floor(cost / max(us, 1)) or 0
  return max(1, min(want.max, by_time, max(fair, worth)))
end
local function rest_of(e, n)
  local us = e.us < 0 and -1 or e.us * (e.count - n) / e.count
  return {first = e.first + n, count = e.count - n, us = us, cost = e.cost, flags = e.flags}
end
-- whether half of this rest gains more than repeating its set-up, or nobody knows yet what a task takes
local function worth_cutting(group, e)
  if never_split(e) then return false end
  if e.us < 0 and group.done_n == 0 then return true end
  local us = e.us < 0 and group.done_us / group.done_n * e.count or e.us
  return us / 2 >= cut_cost(group, e)
end
-- half of the longest rest that another slot has not begun
local function steal(group, cur)
  local entries, best, owner = nil, nil, nil
  if call('HLEN', cur) <= ITEMS then entries = call('HGETALL', cur) else entries = call('HRANDFIELD', cur, ITEMS, 'WITHVALUES') end
  for i = 1, #entries, 2 do
    local e = parse_entry(entries[i + 1])
    if worth_cutting(group, e) and (not best or e.count > best.count) then best = e; owner = entries[i] end
  end
  if not best then return nil end
  local keep = floor(best.count / 2)
  if keep == 0 then call('HDEL', cur, owner); return best end
  local taken = rest_of(best, keep)
  best.us = best.us < 0 and -1 or best.us - taken.us
  best.count = keep
  call('HSET', cur, owner, entry_text(best))
  return taken
end
-- the next run for this slot in this lane, taken out of the lane; nil if there is none for it
local function pick(want, job, group, lane)
  local cur, mine = key('cur', lane.j, lane.l), want.worker.id .. ':' .. want.slot
  local alone = key('alone', lane.j, lane.l)
  if call('EXISTS', alone) == 1 then
    local by = key('alone_by', lane.j, lane.l)
    local holder, until_ms = string.match(call('GET', by) or '', '^(%S+) (%d+)$')
    if want.worker.held == 0 then
      call('DEL', by)
      local task = tonumber(call('LPOP', alone))
      return {first = task, count = 1, us = -1, cost = -1, flags = 's', alone = true}
    end
    if not holder or holder == want.worker.id or tonumber(until_ms) < NOW then
      -- this worker empties itself for it: a suspect runs when nothing else can be blamed
      call('SET', by, want.worker.id .. ' ' .. int(NOW + 30000))
      want.worker.emptying = true
      return nil
    end
  end
  local text = call('HGET', cur, mine)
  if text then call('HDEL', cur, mine); return parse_entry(text) end
  text = call('LPOP', key('q', lane.j, lane.l))
  if text then return parse_entry(text) end
  return steal(group, cur)
end

local function place_of(job, want)
  local name, field = key('place', job.id), want.worker.id .. ':' .. want.slot
  local place = call('HGET', name, field)
  if place then return tonumber(place) end
  local used, n = {}, 0
  for _, p in ipairs(call('HVALS', name)) do used[tonumber(p)] = true end
  while used[n] do n = n + 1 end
  call('HSET', name, field, n)
  return n
end
-- a slot goes elsewhere: the rest of its run goes back, and in another job its place is free again
local function leave_lane(slot, j, l)
  if slot.j == j and slot.l == l then return end
  return_rest(slot.w, slot.s, slot.j, slot.l)
  if slot.j ~= j then call('HDEL', key('place', slot.j), slot.w .. ':' .. slot.s) end
end
local function lease_tasks(want, job, group, lane, e, n)
  local fence = call('HINCRBY', KEYS[1], 'fence', 1)
  preload(lane.j, group.g, e.first, n)
  for task = e.first, e.first + n - 1 do
    local r = record_of(lane.j, group.g, task) or {fails = 0, losses = 0, company = 0, us = 0}
    r.state = 'R'; r.fence = fence; r.us = 0
    save_record(lane.j, group.g, task, r)
  end
  bump(group, 'ready', -n)
  bump(group, 'running', n)
  bump(want.worker, 'held', n)
  if e.alone then put(want.worker, 'alone', fence) end
  local slot = slot_of(want.worker.id, want.slot)
  if slot.j and slot.n == 0 then leave_lane(slot, lane.j, lane.l) end
  if slot.n == 0 then occupy(job, 1) end
  slot.j = lane.j; slot.l = lane.l; slot.n = slot.n + 1; slot.dirty = true
  local c = {key = key('claim', fence), fence = fence, dirty = {}, worker = want.worker.id, slot = want.slot, j = lane.j, g = group.g,
    lane = lane.l, locks = take_locks(lane), first = e.first, count = n, left = n, place = place_of(job, want), at = NOW, alone = e.alone and 1 or 0,
    whole = never_split(e) and 1 or 0, more = n < e.count and 1 or 0, cancel = 0, stop = ''}
  call('HSET', c.key, 'worker', c.worker, 'slot', c.slot, 'j', c.j, 'g', c.g, 'lane', c.lane, 'locks', c.locks,
    'first', c.first, 'count', n, 'left', n, 'place', c.place, 'at', int(NOW), 'alone', c.alone, 'whole', c.whole, 'more', c.more)
  claims[int(fence)] = c
  call('ZADD', key('lease'), int(NOW + want.lease), fence)
  call('SADD', key('held', c.worker), fence)
  emit(job, '> ' .. group.g .. ' ' .. fence .. ' ' .. e.first .. ' ' .. n .. ' ' .. int(c.place) .. ' ' .. c.worker .. ' ' .. c.slot)
  return c
end
-- short runs that follow each other are claimed together, as one that asked again at once would get them
local function widen(want, group, lane, e, most)
  local q, taken = key('q', lane.j, lane.l), 0
  for _, text in ipairs(call('LRANGE', q, 0, most - e.count - 1)) do
    local head = parse_entry(text)
    if head.flags ~= '' or head.first ~= e.first + e.count then break end
    local both = joined(e, head)
    if both.count > portion(want, group, both.us < 0 and -1 or both.us / both.count, both.cost) then break end
    e = both
    taken = taken + 1
  end
  if taken > 0 then call('LPOP', q, taken) end
  return e
end
local function try_lane(want, job, lane)
  local slot = slot_of(want.worker.id, want.slot)
  local own = slot.j == lane.j and slot.l == lane.l
  local name = lane.j .. ':' .. lane.l
  -- a slot holds claims of one lane only, and the locks of one claim only
  if slot.n > 0 and (not own or lane.locks ~= '') then return nil end
  if barren[name] and not own then return nil end
  barren[name] = true
  looks = looks - 1
  local group = group_of(lane.j, lane.group)
  -- a suite that must be loaded is handed out when it is known whole, to hosts that have loaded it
  if lane.warm == 1 and not want.loaded[lane.j .. ':' .. group.g] then
    want.prepare[lane.j .. ':' .. group.g] = true
    return nil
  end
  if lane.warm == 1 and group.sealed == 0 then return nil end
  local pool = lacking(lane)
  if pool then park(lane, pool); return nil end
  local e = pick(want, job, group, lane)
  if not e then return nil end
  local most = single(e) and 1 or portion(want, group, e.us < 0 and -1 or e.us / e.count, e.cost)
  -- not in a suite without history: what its modules cost to set up is not known, and one slot would hoard them
  local unknown = lane.warm == 1 and e.us < 0
  if e.count < most and e.flags == '' and not unknown then e = widen(want, group, lane, e, most) end
  local n = min(e.count, most)
  if n < e.count then
    local rest = rest_of(e, n)
    if lane.locks ~= '' and not never_split(e) then call('LPUSH', key('q', lane.j, lane.l), entry_text(rest))
    else call('HSET', key('cur', lane.j, lane.l), want.worker.id .. ':' .. want.slot, entry_text(rest)) end
  end
  local c = lease_tasks(want, job, group, lane, e, n)
  index_lane(job, lane)
  return c
end
local function try_job(want, slot, job)
  for _, class in ipairs(classes_for(want.worker.labels)) do
    local zset = key('lanes', job.id, class)
    if want.job == job.id and slot.n == 0 and want.lane ~= '' and call('ZSCORE', zset, want.lane) then
      local c = try_lane(want, job, lane_of(job.id, want.lane))
      if c or want.worker.emptying then return c end
    end
    local from = 0
    while looks > 0 do
      local names = call('ZRANGE', zset, from, from + 31)
      from = from + #names
      for _, l in ipairs(names) do
        local lane = lane_of(job.id, l)
        local c = try_lane(want, job, lane)
        if c or want.worker.emptying then return c end
        if lane.wait ~= '' then from = from - 1 end -- it waits for a lock now
      end
      if #names < 32 then break end
    end
  end
end
local function claim(want)
  if want.worker.alone > 0 or want.worker.emptying then return nil end
  local slot = slot_of(want.worker.id, want.slot)
  local list, first = weigh(want, slot)
  -- a slot that still holds something gets more of the same, or runs dry when it is another's turn
  if slot.n > 0 then return first and first.id == slot.j and try_job(want, slot, first) or nil end
  local tried = {}
  while first and looks > 0 do
    local c = try_job(want, slot, first)
    if c or want.worker.emptying then return c end
    tried[first.id] = true
    first = nil
    for _, job in ipairs(list) do
      if not tried[job.id] and (not first or before(job, first)) then first = job end
    end
  end
end
local function claim_reply(c)
  local attempts, ids, task = {}, {}, c.first
  for i = 0, c.count - 1 do
    local r = record_of(c.j, c.g, c.first + i)
    attempts[i + 1] = int(r.fails + r.losses + r.company + 1)
  end
  while task < c.first + c.count do
    local stop = min(c.first + c.count, (floor(task / BUCKET) + 1) * BUCKET)
    for _, id in ipairs(call('LRANGE', key('ids', c.j, c.g, floor(task / BUCKET)), task % BUCKET, (stop - 1) % BUCKET)) do ids[#ids + 1] = id end
    task = stop
  end
  return {int(c.fence), c.j, c.g, c.lane, int(c.place), c.first, c.count, c.slot, c.locks, attempts, ids}
end
-- ms until something is due that rings no bell
local function wait_ms()
  local due = NOW + 4000
  for _, name in ipairs({'lease', 'owners', 'deadlines'}) do
    local head = call('ZRANGE', key(name), 0, 0, 'WITHSCORES')
    if head[2] then due = min(due, tonumber(head[2])) end
  end
  return max(500, min(4000, due - NOW))
end
