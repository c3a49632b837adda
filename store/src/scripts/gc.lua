-- gc: frees what retired jobs left, at most `limit` keys a call. ARGV 2: a job to free now, or '' for those whose time has come.
-- KEYS 1 meta.  ARGV 1 limit, 2 job or ''.  Returns {keys freed, 1 if there is more}.  Transitions: ended job -> gone.
local limit, freed = max(1, min(num(ARGV[1]), ITEMS)), 0
local due = ARGV[2] ~= '' and {ARGV[2]} or call('ZRANGEBYSCORE', key('retire'), '-inf', int(NOW), 'LIMIT', 0, 1)
local j = due[1]
local job = j and job_of(j)
if not job then
  if j then call('ZREM', key('retire'), j); call('ZREM', key('jobs'), j) end
  return {0, 0}
end
if job_live(job) or job.state == 'closing' then return {0, 0} end
local function free(...) freed = freed + call('UNLINK', ...) end
while job.gc_group < job.groups and freed < limit do
  local g = int(job.gc_group)
  local group = group_of(j, g)
  local last = floor(max(0, group.added - 1) / BUCKET)
  while job.gc_bucket <= last and freed < limit do
    free(key('ids', j, g, int(job.gc_bucket)), key('rec', j, g, int(job.gc_bucket)), key('det', j, g, int(job.gc_bucket)))
    bump(job, 'gc_bucket', 1)
  end
  if job.gc_bucket <= last then break end
  put(job, 'gc_group', job.gc_group + 1)
  put(job, 'gc_bucket', 0)
end
if job.gc_group < job.groups then flush(); return {freed, 1} end
local logs = call('HRANDFIELD', key('logs', j), limit)
for _, log in ipairs(logs) do
  free(key('log', j, log))
  call('HDEL', key('logs', j), log)
end
if #logs == limit then flush(); return {freed, 1} end
for g = 0, job.groups - 1 do
  for _, l in ipairs(split(group_of(j, int(g)).lanes, ',')) do free(key('lane', j, l), key('q', j, l), key('cur', j, l), key('alone', j, l), key('alone_by', j, l)) end
  free(key('group', j, int(g)))
end
groups, lanes, jobs = {}, {}, {}
free(key('job', j), key('spec', j), key('events', j), key('place', j), key('logs', j), key('result', j), key('refused', j))
call('ZREM', key('retire'), j); call('ZREM', key('jobs'), j)
return {freed, 0}
