-- next: the whole hot path: takes results, returns claims. A repeated nonce returns the claims it was given.
-- KEYS 1 meta.  ARGV 1 worker, 2 nonce, 3 lease ms, 4 n results, 5 n wants, 6 n loaded, then
--   results: fence, job, group, task, outcome (P F E T S C, Y yield), us, set-up us of wider fixtures, detail (may be empty)
--   wants: slot, max tasks, budget us, job it is warm for (or ''), lane, ms it has been with that job
--   loaded: "job:group" whose suite this host has loaded
-- Returns {status, now, wait ms, verdicts {OK|DUP|STALE ...}, claims {{fence, job, group, lane, place, first, n, slot, locks, {attempts}, {ids}} ...},
--   prepare {"job:group" ...}, over {"job:group" of those loaded whose group has ended ...}}; status UNKNOWN: not registered, resync first, nothing was done.
-- Transitions: running -> passed|failed|errored|timed-out|skipped|cancelled|ready; ready -> running.
local w, nonce, lease_ms, n_results, n_wants, n_loaded = ARGV[1], ARGV[2], num(ARGV[3]), num(ARGV[4]), num(ARGV[5]), num(ARGV[6])
if #ARGV ~= 6 + n_results * 8 + n_wants * 6 + n_loaded then return {'ESHAPE', int(NOW), 0, {}, {}, {}, {}} end
for i = #ARGV - n_loaded + 1, #ARGV do
  if not string.match(ARGV[i], '^.*:%d+$') then return {'ESHAPE', int(NOW), 0, {}, {}, {}, {}} end
end
local worker = worker_of(w)
if not worker then return {'UNKNOWN', int(NOW), 0, {}, {}, {}, {}} end
if n_results > ITEMS or n_wants > 64 then return {'ETOOMANY', int(NOW), 0, {}, {}, {}, {}} end
mind_the_clock()
call('ZADD', key('workers'), 'XX', int(NOW + lease_ms), w)
local verdicts = {}
for i = 0, n_results - 1 do
  verdicts[i + 1] = take_result(w, unpack(ARGV, 7 + i * 8, 14 + i * 8))
end
reap(50) -- after the results: a lease that has just run out ends with what its attempt says
stop_jobs()

local at, loaded, over = 7 + n_results * 8 + n_wants * 6, {}, {}
for i = 0, n_loaded - 1 do loaded[ARGV[at + i]] = true end

local replies, prepare, more, idle, again = {}, {}, false, n_wants == 0, nonce ~= '' and nonce == worker.nonce
if again then
  for _, fence in ipairs(split(worker.nonce_claims, ',')) do
    local c = claim_of(fence)
    if c and c.left == c.count then
      call('ZADD', key('lease'), 'XX', 'GT', int(NOW + lease_ms), fence)
      replies[#replies + 1] = claim_reply(c)
    end
  end
elseif worker.drain == 0 and n_wants > 0 then
  at = 7 + n_results * 8
  local fences, total = {}, ITEMS - n_results
  for i = 0, n_wants - 1 do
    local a = at + i * 6
    local want = {worker = worker, slot = ARGV[a], max = min(num(ARGV[a + 1]), total), budget = num(ARGV[a + 2]),
      job = ARGV[a + 3], lane = ARGV[a + 4], with_ms = num(ARGV[a + 5]), lease = lease_ms, loaded = loaded, prepare = prepare}
    if total == 0 then more = true end
    if want.max > 0 then
      local c = claim(want)
      if c then
        total = total - c.count
        fences[#fences + 1] = int(c.fence)
        replies[#replies + 1] = claim_reply(c)
      else idle = true end
    end
  end
  put(worker, 'nonce', nonce)
  put(worker, 'nonce_claims', table.concat(fences, ','))
end
flush_claims()
local list = {}
for name in pairs(prepare) do list[#list + 1] = name end
for name in pairs(loaded) do
  local group = group_of(string.match(name, '^(.*):(%d+)$'))
  if not group or group_over(group.state) then over[#over + 1] = name end
end
-- at once if there was more than one call may hand out
return {'OK', int(NOW), more and 0 or (idle or #replies == 0) and wait_ms() or 4000, verdicts, replies, list, over}
