-- lib/terminal: the one place where tasks, groups and jobs end (lifecycle.rs: Task, Group and Job tables).
local COUNTER = {P = 'passed', F = 'failed', E = 'errored', T = 'timedout', L = 'lost', S = 'skipped', C = 'cancelled'}
local end_group, check_group

local function bad_tasks(group) return group.failed + group.errored + group.timedout end
-- passed only if every group succeeded; a group that failed without a failed task of its own (or of its collector) says so by itself
local function end_job(job)
  if job_over(job.state) then return end
  local state, failed, short = 'passed', 0, false
  for g = 0, job.groups - 1 do
    local group = group_of(job.id, int(g))
    failed = failed + bad_tasks(group)
    if group.state ~= 'succeeded' then short = true end
    if group.state == 'failed' and bad_tasks(group) + group.lost == 0 then
      local collector = group.collector > 0 and group_of(job.id, int(group.collector - 1))
      if not collector or collector.state == 'succeeded' then failed = failed + 1 end
    end
  end
  if job.cancel == 'deadline' or job.cancel == 'queue-timeout' then state = 'incomplete'
  elseif job.cancel == 'failures' or job.cancel == 'halt' then state = 'failed'
  elseif job.cancel ~= '' then state = 'cancelled'
  elseif failed > 0 then state = 'failed'
  elseif short then state = 'incomplete' end
  put(job, 'state', state)
  put(job, 'outcome', job.cancel)
  call('ZREM', key('owners'), job.id)
  call('ZREM', key('deadlines'), job.id)
  call('ZADD', key('retire'), NOW + job.retention, job.id)
  call('HSET', job.key, 'ended', int(NOW))
  for _, pool in ipairs(split(job.pools, ',')) do release_pool(pool) end
  emit(job, 'J ' .. state .. ' ' .. job.cancel)
end

-- ready tasks of a group that will never run take the group's fate; O(lanes), whatever their number
local function drop_ready(group, counter)
  for _, l in ipairs(split(group.lanes, ',')) do forget_lane(lane_of(group.j, l)) end
  bump(group, counter, group.ready)
  put(group, 'ready', 0)
end
local function open_gate(job, group)
  put(group, 'state', group.sealed == 1 and 'sealed' or (group.collector > 0 and 'collecting' or 'open'))
  emit(job, 'G ' .. group.g .. ' ' .. group.state)
  for _, l in ipairs(split(group.lanes, ',')) do
    index_lane(job, lane_of(group.j, l))
    if group.ready > 0 then ring(lane_of(group.j, l).class, min(group.ready, 64), job) end
  end
  check_group(job, group)
end
-- a group ends at once (skipped, or its collection failed): what is ready goes, what runs is waited for
local function close_group(job, group, state, reason)
  if group_over(group.state) or group.state == 'closing' then return end
  put(group, 'reason', reason)
  drop_ready(group, state == 'skipped' and 'skipped' or 'cancelled')
  if group.running == 0 then return end_group(job, group, state) end
  put(group, 'state', 'closing')
  put(group, 'fate', state)
  emit(job, 'G ' .. group.g .. ' closing ' .. reason)
end
end_group = function(job, group, state)
  put(group, 'state', state)
  emit(job, 'G ' .. group.g .. ' ' .. state .. ' ' .. group.reason)
  bump(job, 'open_groups', -1)
  if group.collector > 0 then call('PUBLISH', key('control'), 'over ' .. job.id) end -- hosts that loaded it finish
  if group.kind == 'collect' then
    local target = group_of(group.j, int(group.collects))
    if state ~= 'succeeded' then close_group(job, target, job_live(job) and state or 'cancelled', state == 'skipped' and group.reason or 'collection ' .. state)
    elseif target.sealed == 0 then close_group(job, target, 'failed', 'collection ended without sealing') end
  end
  for _, d in ipairs(split(group.deps, ',')) do
    local dependent = group_of(group.j, d)
    if state == 'succeeded' then
      bump(dependent, 'needs', -1)
      if dependent.needs == 0 and dependent.state == 'waiting' then open_gate(job, dependent) end
    else
      close_group(job, dependent, 'skipped', 'needs group ' .. group.g .. ', which ' .. state)
    end
  end
  if job.open_groups == 0 and (job.sealed == 1 or job.state == 'closing') then end_job(job) end
end
check_group = function(job, group)
  if group_over(group.state) or group.state == 'waiting' then return end
  if group.ready > 0 or group.running > 0 then return end
  if group.state == 'closing' and job_live(job) then return end_group(job, group, group.fate) end
  if group.sealed == 0 and job_live(job) then return end
  if bad_tasks(group) + group.lost > 0 then end_group(job, group, 'failed')
  elseif group.cancelled > 0 or not job_live(job) then end_group(job, group, 'cancelled')
  else end_group(job, group, 'succeeded') end
end

local function cancel_job(job, reason)
  if not job_live(job) then return false end
  put(job, 'state', 'closing')
  put(job, 'cancel', reason)
  emit(job, 'J closing ' .. reason)
  call('PUBLISH', key('control'), 'cancel ' .. job.id)
  for g = 0, job.groups - 1 do
    local group = group_of(job.id, int(g))
    if not group_over(group.state) then
      drop_ready(group, 'cancelled')
      if group.running == 0 then end_group(job, group, bad_tasks(group) + group.lost > 0 and 'failed' or 'cancelled') end
    end
  end
  if job.open_groups == 0 then end_job(job) end
  return true
end
-- too many failures: before anything more is claimed
local function stop_jobs()
  local stop = {}
  for _, job in pairs(jobs) do
    if job and job.stop and job_live(job) then stop[#stop + 1] = job end
  end
  for _, job in ipairs(stop) do cancel_job(job, job.soon == 1 and 'halt' or 'failures') end
end

-- the one end of a task: its record, its group's counters, its event
local function terminal(job, group, task, r, state, us, more)
  r.state = state; r.us = us
  save_record(group.j, group.g, task, r)
  bump(group, COUNTER[state], 1)
  if state == 'P' and r.fails > 0 then bump(group, 'flaky', 1) end
  emit(job, '= ' .. group.g .. ' ' .. task .. ' ' .. state .. ' ' .. r.fence .. ' ' .. us .. ' ' .. more)
  if (state == 'F' or state == 'E' or state == 'T' or state == 'L') and group.kind ~= 'collect' then
    bump(job, 'failures', 1)
    if job.max_failures > 0 and job.failures >= job.max_failures then job.stop = true end
  end
end
