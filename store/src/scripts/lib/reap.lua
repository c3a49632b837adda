-- lib/reap: expiries, done by whoever calls `beat`, `next` or `reap`; no process is special.
-- After a gap (Redis was down, or the clock jumped) nothing expires for one lease: owners included.
local REAP_EVERY, REAP_GAP, HOLD = 2000, 10000, 30000
-- a clock set back: every deadline goes back with it, or what has died would be missed only that much later
local function mind_the_clock()
  if META.last_reap - NOW < 1000 then return end -- no more than a correction
  for _, name in ipairs({'lease', 'workers', 'owners', 'deadlines'}) do
    local list, moved = call('ZRANGE', key(name), 0, -1, 'WITHSCORES'), {}
    for i = 1, #list, 2 do
      moved[#moved + 1] = int(tonumber(list[i + 1]) - (META.last_reap - NOW)); moved[#moved + 1] = list[i]
      if #moved == 400 or i == #list - 1 then call('ZADD', key(name), unpack(moved)); moved = {} end
    end
  end
  META.last_reap = NOW
  META.hold_until = NOW + HOLD
  call('HSET', KEYS[1], 'last_reap', int(NOW), 'hold_until', int(META.hold_until))
end
local function reap_leases(limit)
  local n = 0
  for _, fence in ipairs(call('ZRANGEBYSCORE', key('lease'), '-inf', int(NOW), 'LIMIT', 0, 20)) do
    if n >= limit then break end
    local c = claim_of(fence)
    if c then
      local worker = worker_of(c.worker)
      local company = c.left
      if worker then
        -- leases of one worker end at different times; its company is what it held when the first one ended
        if worker.held > worker.lost_held then put(worker, 'lost_held', worker.held) end
        company = worker.lost_held
      end
      n = n + lose_claim(c, company, limit - n)
    else call('ZREM', key('lease'), fence) end
  end
  return n
end
local function reap_owners()
  for _, j in ipairs(call('ZRANGEBYSCORE', key('owners'), '-inf', int(NOW), 'LIMIT', 0, 4)) do
    local job = job_of(j)
    call('ZREM', key('owners'), j)
    -- a detached job goes on, once it has all its tasks
    if job and (job.detach == 0 or job.sealed == 0) then cancel_job(job, 'owner') end
  end
  for _, j in ipairs(call('ZRANGEBYSCORE', key('deadlines'), '-inf', int(NOW), 'LIMIT', 0, 4)) do
    local job = job_of(j)
    call('ZREM', key('deadlines'), j)
    if job then cancel_job(job, 'deadline') end
  end
end
local function reap_workers()
  local n = 0
  for _, w in ipairs(call('ZRANGEBYSCORE', key('workers'), '-inf', int(NOW), 'LIMIT', 0, 50)) do
    if n < 4 and call('SCARD', key('held', w)) == 0 then forget_worker(w); n = n + 1 end
  end
end
-- a lane must not wait for a pool that has what it wants: the net under every lost wake-up
local function reap_waiters()
  local pools = call('HKEYS', key('pools'))
  local from = floor(NOW / REAP_EVERY) -- another one first each time, in case there are more than one call should wake
  local woken = 0
  for i = 1, #pools do
    local pool = pools[(from + i) % #pools + 1]
    if woken < 64 and call('LLEN', key('free', pool)) > 0 then woken = woken + wake(pool) end
  end
end
local function reap(limit)
  if NOW >= META.last_reap and NOW - META.last_reap < REAP_EVERY then return 0 end
  if META.last_reap > 0 and NOW - META.last_reap > REAP_GAP then
    META.hold_until = NOW + HOLD
    call('HSET', KEYS[1], 'hold_until', int(META.hold_until))
  end
  call('HSET', KEYS[1], 'last_reap', int(NOW))
  if NOW < META.hold_until then return 0 end
  reap_owners()
  local n = reap_leases(limit)
  reap_workers()
  reap_waiters()
  return n
end
