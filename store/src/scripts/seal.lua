-- seal: says that no more tasks come: to a group (by its collector or the coordinator), or to the job (group -1).
-- KEYS 1 meta.  ARGV 1 job, 2 group or -1, 3 fence of the collect attempt (0: the coordinator), 4 total of tasks,
--   5 most failures and 6 most slots that the collected suite's own settings ask for (0: nothing said)
-- Returns OK | DUP | ECOUNT <added> | ESTALE | EOVER | EUNKNOWN.  Transitions: group open|collecting -> sealed; job open -> sealed.
local j, g, fence, total = ARGV[1], ARGV[2], num(ARGV[3]), num(ARGV[4])
local job = job_of(j)
if not job then return 'EUNKNOWN' end
if g == '-1' then
  if job.sealed == 1 then return 'DUP' end
  if not job_live(job) then return 'EOVER' end
  put(job, 'sealed', 1); put(job, 'state', 'sealed')
  emit(job, 'J sealed')
  if job.open_groups == 0 then end_job(job) end
  flush()
  return 'OK'
end
local group = group_of(j, g)
if not group then return 'EUNKNOWN' end
if group.sealed == 1 then return group.added == total and 'DUP' or ('ECOUNT ' .. group.added) end
local skipped = group.state == 'skipped' and group.collector == 0 -- see add
if not job_live(job) or not skipped and (group_over(group.state) or group.state == 'closing') then return 'EOVER' end
if group.collector > 0 then
  local collect = record_of(j, int(group.collector - 1), 0)
  if not collect or collect.state ~= 'R' or collect.fence ~= fence then return 'ESTALE' end
end
if group.added ~= total then return 'ECOUNT ' .. group.added end
put(group, 'sealed', 1)
if num(ARGV[5]) > 0 and job.max_failures == 0 then put(job, 'max_failures', num(ARGV[5])) end
if num(ARGV[6]) > 0 and job.max_slots == 0 then put(job, 'max_slots', num(ARGV[6])) end
if group.state == 'open' or group.state == 'collecting' then
  put(group, 'state', 'sealed')
  emit(job, 'G ' .. g .. ' sealed')
end
for _, l in ipairs(split(group.lanes, ',')) do -- hosts that have loaded the suite may begin
  local lane = lane_of(j, l)
  if lane.warm == 1 and gate_open(group) and group.ready > 0 then ring(lane.class, min(group.ready, 64), job) end
end
check_group(job, group)
flush()
return 'OK'
