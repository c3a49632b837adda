-- refuse: a worker cannot run a job (its host lacks the tree, or a test). If others can, it is handed nothing of that job
-- any more, until it comes to the farm anew; it then gives back what it has of it, which costs nothing.
-- KEYS 1 meta.  ARGV 1 worker, 2 fence of its claim, 3 reason (a line for people)
-- Returns {OK, others} (others: live workers that fit and have not refused) | {ALONE, 0} (nobody else is there: nothing was
--   changed, the worker ends its tasks and says why) | {STALE, 0} (not its claim).
-- Transitions: none; what its slots had not begun of their runs goes back to the lanes.
local MANY = 1000 -- workers looked at, those that spoke last first: a few ms, once for each host and job
local w = ARGV[1]
local c, worker = claim_of(ARGV[2]), worker_of(w)
if not c or not worker or c.worker ~= w then return {'STALE', 0} end
local job, class, others = job_of(c.j), lane_of(c.j, c.lane).class, 0
for _, id in ipairs(call('ZREVRANGEBYSCORE', key('workers'), '+inf', '(' .. int(NOW), 'LIMIT', 0, MANY)) do
  local other = id ~= w and worker_of(id)
  if other and other.drain == 0 and satisfies(other.labels, class) and not has_refused(other, job) then others = others + 1 end
end
-- of a job that closes, what is given back ends as cancelled
if has_refused(worker, job) or not job_live(job) then return {'OK', others} end
if others == 0 then return {'ALONE', 0} end

local reason = string.sub((string.gsub(ARGV[3], '%c', ' ')), 1, 2000)
if call('HSET', key('refused', c.j), w, int(worker.joined) .. ' ' .. reason) == 1 then bump(job, 'refusals', 1) end
emit(job, '! ' .. w .. ' ' .. others .. ' ' .. reason)
local entries = call('HGETALL', key('slot', w))
for i = 1, #entries, 2 do
  local slot = slot_of(w, entries[i])
  if slot.j == c.j then return_rest(w, entries[i], slot.j, slot.l) end
end
flush_claims()
return {'OK', others}
