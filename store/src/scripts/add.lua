-- add: appends a chunk of tasks to a group, and their runs to its lanes; repeating a chunk is harmless.
-- KEYS 1 meta.  ARGV 1 job, 2 group, 3 fence of the collect attempt (0: the coordinator itself), 4 number of the first task,
--   5 n ids, then n ids, then for each run: lane, "first,count,us,cost,flags"
--   (flag c: continues the lane's last run)
-- Returns {OK, added} | {DUP, added} | {EGAP, added} (send from there on) | {ECONFLICT, added} (other ids at these numbers) | {ESTALE, added}
--   (not the current collector) | {ESEALED, added} | {EOVER, added} (group or job has ended) | {EUNKNOWN, 0}.
-- Transitions: task - -> ready | blocked (behind its lane's gate) | skipped (of the coordinator's group that was skipped meanwhile).
local j, g, fence, first, n = ARGV[1], ARGV[2], num(ARGV[3]), num(ARGV[4]), num(ARGV[5])
local bad_runs = redis.error_reply('ERUNS the runs of a chunk must be whole, in lanes of its group, and hold each of its tasks once')
local job = job_of(j)
local group = job and group_of(j, g)
if not group or n > ITEMS then return {'EUNKNOWN', 0} end
if not job_live(job) then return {'EOVER', group.added} end
if group.collector > 0 then
  local collect = record_of(j, int(group.collector - 1), 0)
  if not collect or collect.state ~= 'R' or collect.fence ~= fence then return {'ESTALE', group.added} end
end
-- skipped while it was still sent: what it would have run is told by reports and repeated by a retry
local skipped = group.state == 'skipped' and group.collector == 0
local ended = not skipped and (group_over(group.state) or group.state == 'closing')
if first < group.added or n == 0 then -- also when the group has ended: a collector that was lost is repeated
  for i = 0, min(n, group.added - first) - 1 do
    local task = first + i
    if call('LINDEX', key('ids', j, g, floor(task / BUCKET)), task % BUCKET) ~= ARGV[6 + i] then return {'ECONFLICT', group.added} end
  end
  return {first + n <= group.added and 'DUP' or 'EGAP', group.added}
end
if ended then return {'EOVER', group.added} end
if group.sealed == 1 then return {'ESEALED', group.added} end
if first > group.added then return {'EGAP', group.added} end
local covered = {}
for a = 6 + n, #ARGV, 2 do
  local lane, e = lane_of(j, ARGV[a]), string.match(ARGV[a + 1] or '', '^%d+,%d+,%-?%d+,%-?%d+,[nc]*$') and parse_entry(ARGV[a + 1])
  if not lane or lane.group ~= g or not e or e.first < first or e.count < 1 or e.first + e.count > first + n then return bad_runs end
  for task = e.first, e.first + e.count - 1 do
    if covered[task] then return bad_runs end
    covered[task] = true
  end
end
for task = first, first + n - 1 do if not covered[task] then return bad_runs end end

local i = 0
while i < n do
  local bucket, stop = floor((first + i) / BUCKET), min(n, (floor((first + i) / BUCKET) + 1) * BUCKET - first)
  call('RPUSH', key('ids', j, g, bucket), unpack(ARGV, 6 + i, 5 + stop))
  i = stop
end
bump(group, 'added', n)
emit(job, '+ ' .. g .. ' ' .. first .. ' ' .. n)
if skipped then
  bump(group, 'skipped', n)
  flush()
  return {'OK', group.added}
end
bump(group, 'ready', n)
local touched = {}
for a = 6 + n, #ARGV, 2 do
  local q, e = key('q', j, ARGV[a]), parse_entry(ARGV[a + 1])
  touched[ARGV[a]] = (touched[ARGV[a]] or 0) + e.count
  local tail = string.find(e.flags, 'c', 1, true) and call('LINDEX', q, -1)
  e.flags = string.gsub(e.flags, 'c', '')
  if tail then -- a run longer than one chunk: it goes on where the lane's last entry ends
    local before = parse_entry(tail)
    if before.first + before.count == e.first and not single(before) then
      call('RPOP', q)
      e = {first = before.first, count = before.count + e.count, us = e.us < 0 and -1 or before.us + e.us, cost = before.cost, flags = before.flags}
    end
  end
  call('RPUSH', q, entry_text(e))
end
for l, count in pairs(touched) do
  local lane = lane_of(j, l)
  index_lane(job, lane)
  if gate_open(group) and lane.wait == '' then ring(lane.class, min(count, 64), job) end
end
flush()
return {'OK', group.added}
