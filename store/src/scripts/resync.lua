-- resync: a worker says who it is and what it holds; whatever else is on its books goes back. Also how it registers,
-- how a restarted daemon returns its predecessor's work, and how it leaves.
-- KEYS 1 meta.  ARGV 1 worker, 2 lease ms, 3 labels (sorted, comma), 4 slots, 5 about (JSON),
--   6 predecessor's worker id or '', 7 mode: join | drain | leave, then the fences it holds
-- Returns {status, now, fences it must forget ..., } ; MORE: call again (the rest of the books is large).
-- Transitions: running -> ready (a claim whose reply was lost: yield); of a predecessor: running -> ready|lost.
local w, lease_ms, labels, n_slots, mode = ARGV[1], num(ARGV[2]), ARGV[3], num(ARGV[4]), ARGV[7]
if mode == 'join' and call('EXISTS', key('w', w)) == 0 then
  call('HSET', key('w', w), 'labels', labels, 'slots', n_slots, 'host', ARGV[5], 'nonce', '', 'held', 0, 'drain', 0, 'joined', int(NOW))
  call('HINCRBY', KEYS[1], 'slots', n_slots)
  call('HINCRBY', key('profiles'), labels, 1)
end
if mode == 'join' then call('ZADD', key('workers'), int(NOW + lease_ms), w) end
local known, forget, limit = {}, {}, 100
for i = 8, #ARGV do
  local c = mode ~= 'leave' and claim_of(ARGV[i])
  if not c or c.worker ~= w then forget[#forget + 1] = ARGV[i]
  else
    known[ARGV[i]] = true
    call('ZADD', key('lease'), 'XX', 'GT', int(NOW + lease_ms), ARGV[i]) -- the worker counts on what its last beat was told
  end
end
local function give_back(fence)
  local c = claim_of(fence)
  if not c then call('SREM', key('held', w), fence); return end
  preload(c.j, c.g, c.first, c.count)
  for task = c.first + c.count - 1, c.first, -1 do
    local r = record_of(c.j, c.g, task)
    if limit > 0 and r and r.state == 'R' and r.fence == c.fence then yield(c, task); limit = limit - 1 end
  end
end
for _, fence in ipairs(call('SMEMBERS', key('held', w))) do
  if not known[fence] and limit > 0 then give_back(fence) end
end
if ARGV[6] ~= '' then
  local old = worker_of(ARGV[6])
  if old and old.held > old.lost_held then put(old, 'lost_held', old.held) end
  for _, fence in ipairs(call('SMEMBERS', key('held', ARGV[6]))) do
    local c = limit > 0 and claim_of(fence)
    if c then limit = limit - lose_claim(c, old and old.lost_held or c.left, limit) end
  end
  if limit > 0 then forget_worker(ARGV[6]) end
end
if mode == 'leave' and limit > 0 then forget_worker(w) end
if mode == 'drain' then -- it claims no more: what its slots had not begun of their runs is for others
  local entries = call('HGETALL', key('slot', w))
  for i = 1, #entries, 2 do
    local slot = slot_of(w, entries[i])
    if slot.j and job_of(slot.j) then return_rest(w, entries[i], slot.j, slot.l) end
  end
end
flush_claims()
return {limit > 0 and 'OK' or 'MORE', int(NOW), unpack(forget)}
