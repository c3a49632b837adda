-- lib/reap: expiries, done by whoever calls `beat`, `next` or `reap`; no process is special.
-- After a gap (Redis was down, or the clock jumped) nothing expires for one lease: owners included.
local REAP_EVERY, REAP_GAP, HOLD = 2000, 10000, 30000
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
    if job and job.detach == 0 then cancel_job(job, 'owner') end
  end
  for _, j in ipairs(call('ZRANGEBYSCORE', key('deadlines'), '-inf', int(NOW), 'LIMIT', 0, 4)) do
    local job = job_of(j)
    call('ZREM', key('deadlines'), j)
    if job then cancel_job(job, 'deadline') end
  end
end
local function reap_workers()
  for _, w in ipairs(call('ZRANGEBYSCORE', key('workers'), '-inf', int(NOW), 'LIMIT', 0, 4)) do
    if call('SCARD', key('held', w)) == 0 then forget_worker(w) end
  end
end
-- a lane must not wait for a pool that has what it wants: the net under every lost wake-up
local function reap_waiters()
  for _, pool in ipairs(call('HKEYS', key('pools'))) do
    if call('LLEN', key('free', pool)) > 0 then wake(pool) end
  end
end
local function reap(limit, forced)
  if not forced and NOW - META.last_reap < REAP_EVERY then return 0 end
  if META.last_reap > 0 and (NOW - META.last_reap > REAP_GAP or NOW < META.last_reap) then
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
