-- cancel: ends a job (what is ready goes at once, what runs is told by its beat), one claim of it, or one task of that.
-- KEYS 1 meta.  ARGV 1 job, 2 reason (user, deadline, queue-timeout, failures, halt), 3 fence of a claim or '', 4 task or ''
-- `halt` lets what runs end by itself; another reason after it stops that too.
-- Returns OK | DUP | EUNKNOWN.  Transitions: job open|sealed -> closing; ready|blocked -> cancelled|skipped.
local job = job_of(ARGV[1])
if not job then return 'EUNKNOWN' end
if ARGV[3] ~= '' then
  local c = claim_of(ARGV[3])
  if not c or c.j ~= ARGV[1] then return 'EUNKNOWN' end
  local task = whole(ARGV[4])
  if task then
    local r = task >= c.first and task < c.first + c.count and record_of(c.j, c.g, task)
    if not r or r.state ~= 'R' or r.fence ~= c.fence then return 'EUNKNOWN' end
    if c.cancel == 1 or string.find(c.stop, ',' .. int(task) .. ',', 1, true) then return 'DUP' end
    put(c, 'stop', (c.stop == '' and ',' or c.stop) .. int(task) .. ',')
  elseif c.cancel == 1 then return 'DUP'
  else put(c, 'cancel', 1) end
  call('PUBLISH', key('control'), 'cancel ' .. ARGV[1])
  flush_claims()
  return 'OK'
end
if halting(job) and ARGV[2] ~= 'halt' then
  put(job, 'cancel', ARGV[2])
  call('PUBLISH', key('control'), 'cancel ' .. ARGV[1])
  flush_claims()
  return 'OK'
end
if not cancel_job(job, ARGV[2]) then return 'DUP' end
flush_claims()
return 'OK'
