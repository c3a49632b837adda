-- beat: renews the leases of what a worker holds, and says what it must stop. Reaps.
-- KEYS 1 meta.  ARGV 1 worker, 2 lease ms, 3 what runs (JSON, shown by status), then for each claim: fence, ms its attempt has run
-- Returns {status, now, drain (0 no, 1 take no more, 2 leave), {OK|CANCEL|LOST|STOP ,task,...|LAST ...}, {job that somebody watches live ...}}; UNKNOWN: resync first.
-- A lease grows with its attempt (a tenth of its time, at most 10 min), so that a short outage kills nothing; it never
-- shrinks, because the worker may know only the longer one.
-- Transitions: none of its own; lib/reap: running -> ready|lost|cancelled, job open|sealed -> closing.
local w, lease_ms = ARGV[1], num(ARGV[2])
local worker = worker_of(w)
if not worker then return {'UNKNOWN', int(NOW), 0, {}, {}} end
mind_the_clock()
call('ZADD', key('workers'), int(NOW + lease_ms), w)
call('HSET', key('w', w), 'running', ARGV[3], 'seen', int(NOW))
put(worker, 'lost_held', 0)
local answers, watched = {}, {}
for i = 4, #ARGV, 2 do
  local c = claim_of(ARGV[i])
  if not c or c.worker ~= w then answers[#answers + 1] = 'LOST'
  else
    call('ZADD', key('lease'), 'XX', 'GT', int(NOW + lease_ms + min(600000, floor(num(ARGV[i + 1]) / 10))), ARGV[i])
    local job = job_of(c.j)
    local going = job_live(job) or halting(job)
    answers[#answers + 1] = (not going or c.cancel == 1) and 'CANCEL' or c.stop ~= '' and 'STOP ' .. c.stop
      or halting(job) and 'LAST' or 'OK'
    watched[c.j] = true
  end
end
reap(100)
flush_claims()
local looking = {}
for j in pairs(watched) do
  if num(call('HGET', key('job', j), 'watched')) > NOW then looking[#looking + 1] = j end
end
return {'OK', int(NOW), int(worker_of(w) and worker_of(w).drain or 0), answers, looking}
