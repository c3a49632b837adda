-- cancel: ends a job (what is ready goes at once, what runs is told by its beat), or one running task of it.
-- KEYS 1 meta.  ARGV 1 job, 2 reason (user, deadline, queue-timeout, failures, halt), 3 fence of one attempt or ''
-- `halt` lets what runs end by itself; another reason after it stops that too.
-- Returns OK | DUP | EUNKNOWN.  Transitions: job open|sealed -> closing; ready|blocked -> cancelled|skipped.
local job = job_of(ARGV[1])
if not job then return 'EUNKNOWN' end
if ARGV[3] ~= '' then
  local c = claim_of(ARGV[3])
  if not c or c.j ~= ARGV[1] then return 'EUNKNOWN' end
  if c.cancel == 1 then return 'DUP' end
  put(c, 'cancel', 1)
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
