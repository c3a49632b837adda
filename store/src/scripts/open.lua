-- open: creates a job with its groups, lanes and pools; repeating it with the same spec is harmless.
-- KEYS 1 meta.  ARGV 1 job, 2 spec (JSON, stored as it is), 3 plan (JSON, see open.rs), 4 coordinator, 5 owner grace ms (0: detached)
-- Returns OK | EXISTS (same spec) | ECONFLICT (other spec) | EPOOL <name> (defined otherwise by a live job).
-- Transitions: job - -> open; group - -> waiting | open | collecting.
local j, spec, plan = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local known = call('GET', key('spec', j))
if known then return known == spec and 'EXISTS' or 'ECONFLICT' end
local names = {}
for name, pool in pairs(plan.pools) do
  local have = call('HGET', key('pools'), name)
  if have and have ~= pool.definition then return 'EPOOL ' .. name end
  names[#names + 1] = name
end

call('SET', key('spec', j), spec)
call('HSET', key('job', j), 'state', 'open', 'submitter', plan.submitter, 'cancel', '', 'outcome', '', 'owner', ARGV[4],
  'priority', plan.priority, 'weight', plan.weight, 'max_slots', plan.max_slots, 'open_groups', #plan.groups, 'groups', #plan.groups,
  'owner_epoch', 1, 'grace', ARGV[5], 'detach', plan.detach, 'det_budget', plan.det_budget, 'max_failures', plan.max_failures, 'soon', plan.soon or 0,
  'retention', plan.retention_ms, 'created', int(NOW), 'name', plan.name, 'pools', table.concat(names, ','))
call('ZADD', key('jobs'), int(NOW), j)
if num(ARGV[5]) > 0 then call('ZADD', key('owners'), int(NOW + num(ARGV[5])), j) end
if plan.deadline_ms > 0 then call('ZADD', key('deadlines'), int(NOW + plan.deadline_ms), j) end
for name, pool in pairs(plan.pools) do
  if call('HSETNX', key('pools'), name, pool.definition) == 1 then
    for _, item in ipairs(pool.items) do call('RPUSH', key('free', name), item) end
  end
  call('HINCRBY', key('pool_users'), name, 1)
end
for i, l in ipairs(plan.lanes) do
  call('HSET', key('lane', j, i - 1), 'group', l.group, 'class', l.class, 'locks', l.locks, 'warm', l.warm)
end
local job = job_of(j)
for i, g in ipairs(plan.groups) do
  call('HSET', key('group', j, i - 1), 'name', g.name, 'state', 'waiting', 'kind', g.kind, 'deps', g.deps, 'lanes', g.lanes,
    'needs', g.needs, 'collects', g.collects, 'collector', g.collector, 'retries', g.retries, 'max_losses', g.max_losses)
end
for i, g in ipairs(plan.groups) do
  if g.needs == 0 then open_gate(job, group_of(j, int(i - 1))) end
end
flush()
return 'OK'
