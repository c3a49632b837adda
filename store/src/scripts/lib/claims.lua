-- lib/claims: a claim is one lease: tasks [first, first+count) of one lane, held by one slot, under one fence.
-- Its locks are the claim's; every way out of `running` passes through leave(), which frees them with the last task.
local claims = {}
local function claim_of(fence)
  if claims[fence] == nil then
    local t = load(key('claim', fence), {'worker', 'slot', 'j', 'g', 'lane', 'locks', 'stop'}, {'first', 'count', 'left', 'place', 'at', 'alone', 'cancel', 'whole', 'more'})
    if t then t.fence = tonumber(fence) end
    claims[fence] = t or false
  end
  return claims[fence] or nil
end
-- a claim's job and group
local function home(c)
  if not c.home then c.job = job_of(c.j); c.home = group_of(c.j, c.g) end
  return c.job, c.home
end
-- whether what leaves a claim may go back to its lane; a cancelled attempt is never tried again
local function may_return(job, group, c, task)
  if string.find(c.stop or '', ',' .. int(task) .. ',', 1, true) then return false end
  return job_live(job) and group.state ~= 'closing' and c.cancel == 0
end
local workers = {}
local function worker_of(w)
  if workers[w] == nil then
    local t = load(key('w', w), {'labels', 'host', 'nonce', 'nonce_claims'}, {'slots', 'held', 'alone', 'lost_held', 'drain', 'joined'})
    if t then t.id = w end
    workers[w] = t or false
  end
  return workers[w] or nil
end
-- whether it cannot run this job; one that has come to the farm anew since it said so may try again
local function has_refused(worker, job)
  if job.refusals == 0 then return false end
  local said = call('HGET', key('refused', job.id), worker.id)
  return said and string.match(said, '^%d+') == int(worker.joined)
end
local slots = {}
local function slot_of(w, s)
  local id = w .. ' ' .. s
  if not slots[id] then
    local j, n, l = string.match(call('HGET', key('slot', w), s) or '', '^(%S+) (%d+) (%d+)$')
    slots[id] = {w = w, s = s, j = j, n = tonumber(n) or 0, l = l}
  end
  return slots[id]
end
local function save_slot(t)
  if t.j then call('HSET', key('slot', t.w), t.s, t.j .. ' ' .. t.n .. ' ' .. t.l) else call('HDEL', key('slot', t.w), t.s) end
end
local function end_claim(job, c)
  call('DEL', c.key)
  c.dirty = {}
  claims[int(c.fence)] = false
  call('ZREM', key('lease'), int(c.fence))
  call('SREM', key('held', c.worker), int(c.fence))
  local slot = slot_of(c.worker, c.slot)
  slot.n = slot.n - 1
  if slot.n == 0 then occupy(job, -1) end
  slot.dirty = true
  local worker = worker_of(c.worker)
  if worker and worker.alone == c.fence then put(worker, 'alone', 0) end
  free_locks(c.locks)
end
-- one task leaves its claim
local function leave(job, c)
  bump(c, 'left', -1)
  local worker = worker_of(c.worker)
  if worker then bump(worker, 'held', -1) end
  if c.left == 0 then end_claim(job, c) end
end
local function requeue(job, group, task, r, c, why, at_front)
  local lane = lane_of(c.j, c.lane)
  r.state = 'Q'
  save_record(group.j, group.g, task, r)
  emit(job, '~ ' .. group.g .. ' ' .. task .. ' ' .. why .. ' ' .. int(r.fence))
  bump(group, 'ready', 1)
  if r.losses > 0 or r.company > 1 then
    call('RPUSH', key('alone', group.j, lane.l), task)
    index_lane(job, lane)
    ring(lane.class, 1, job)
  else
    local mean = group.done_n > 0 and floor(group.done_us / group.done_n) or -1
    local flags = (r.company > 0 or r.fails > 0) and 's' or (c.whole == 1 and 'n' or '')
    put_back(job, lane, {first = task, count = 1, us = mean, cost = -1, flags = flags}, at_front,
      at_front and task > c.first, at_front and (c.more == 1 or task + 1 < c.first + c.count))
  end
end
-- running -> ready | lost | cancelled: the lease ended without a result (lifecycle.rs: Event::Lose)
local function lose(c, task, company)
  local job, group = home(c)
  local r = record_of(c.j, c.g, task)
  if not r or r.state ~= 'R' or r.fence ~= c.fence then return end
  bump(group, 'running', -1)
  if company <= 1 then r.losses = r.losses + 1 else r.company = r.company + 1 end
  if not may_return(job, group, c, task) then terminal(job, group, task, r, 'C', 0, int(c.place))
  elseif r.losses > group.max_losses then terminal(job, group, task, r, 'L', 0, int(c.place))
  else requeue(job, group, task, r, c, 'lost', true) end
  leave(job, c)
  check_group(job, group)
end
-- loses at most `limit` tasks of a claim; returns how many
local function lose_claim(c, company, limit)
  local n = 0
  preload(c.j, c.g, c.first, c.count)
  for task = c.first + c.count - 1, c.first, -1 do -- each goes to the head: the order stays
    if n >= limit or c.left == 0 then break end
    local r = record_of(c.j, c.g, task)
    if r and r.state == 'R' and r.fence == c.fence then lose(c, task, company); n = n + 1 end
  end
  return n
end
-- running -> ready, costs nothing (drain, or claimed and not started)
local function yield(c, task)
  local job, group = home(c)
  local r = record_of(c.j, c.g, task)
  bump(group, 'running', -1)
  if not may_return(job, group, c, task) then terminal(job, group, task, r, 'C', 0, int(c.place))
  else requeue(job, group, task, r, c, 'yield', true) end
  leave(job, c)
  check_group(job, group)
end
-- a worker has gone: the rests of its slots' runs, its places and its registration
local function forget_worker(w)
  local entries = call('HGETALL', key('slot', w))
  for i = 1, #entries, 2 do
    local slot = slot_of(w, entries[i])
    if slot.j and job_of(slot.j) then
      return_rest(w, entries[i], slot.j, slot.l)
      call('HDEL', key('place', slot.j), w .. ':' .. entries[i])
    end
    slot.dirty = false
  end
  call('DEL', key('slot', w))
  local worker = worker_of(w)
  if worker then
    call('HINCRBY', KEYS[1], 'slots', -worker.slots)
    if call('HINCRBY', key('profiles'), worker.labels, -1) <= 0 then
      call('HDEL', key('profiles'), worker.labels); call('DEL', key('bell', worker.labels))
    end
  end
  call('ZREM', key('workers'), w)
  call('DEL', key('w', w), key('held', w))
  workers[w] = false
end
local function flush_claims()
  flush_records()
  for _, c in pairs(claims) do if c then store(c) end end
  for _, w in pairs(workers) do if w then store(w) end end
  for _, s in pairs(slots) do if s.dirty then save_slot(s) end end
  stop_jobs()
  flush()
end
