-- log: appends to the tail that Redis keeps of one attempt's output, and shows it to whoever looks.
-- KEYS 1 meta.  ARGV 1 fence, 2 task, 3 offset, 4 stream (o|e), 5 bytes.  Returns {OK, next offset} | {STALE, 0} | {EGAP, offset wanted}.
-- All tails of a job together may be as large as its details: beyond that, output is only shown.
-- Transitions: none.
local LOG_BYTES = 262144
local c = claim_of(ARGV[1])
if not c then return {'STALE', 0} end
local task, offset = whole(ARGV[2]), num(ARGV[3])
if not task or task < c.first or task >= c.first + c.count then return {'STALE', 0} end
local field = c.g .. ':' .. ARGV[2] .. ':' .. ARGV[1]
local name, have = key('log', c.j, field), num(call('HGET', key('logs', c.j), field))
if offset > have then return {'EGAP', have} end
if offset < have then return {'OK', have} end
have = have + #ARGV[5]
call('HSET', key('logs', c.j), field, have)
local job, before = key('job', c.j), call('STRLEN', name)
local known = call('HMGET', job, 'log_bytes', 'det_budget')
if num(known[1]) + #ARGV[5] <= num(known[2]) then
  local after = call('APPEND', name, ARGV[5])
  if after > LOG_BYTES then
    call('SET', name, call('GETRANGE', name, -LOG_BYTES / 2, -1))
    after = LOG_BYTES / 2
  end
  call('HINCRBY', job, 'log_bytes', after - before)
end
call('PUBLISH', key('log', c.j), table.concat({c.g, ARGV[2], ARGV[1], ARGV[4], int(offset)}, ' ') .. '\n' .. ARGV[5])
return {'OK', have}
