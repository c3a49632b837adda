-- log: appends to the tail that Redis keeps of one attempt's output, and shows it to whoever looks.
-- KEYS 1 meta.  ARGV 1 fence, 2 task, 3 offset, 4 stream (o|e), 5 bytes.  Returns {OK, next offset} | {STALE, 0} | {EGAP, offset wanted}.
-- Transitions: none.
local LOG_BYTES = 262144
local c = claim_of(ARGV[1])
if not c then return {'STALE', 0} end
local name, offset = key('log', c.j, c.g, ARGV[2], ARGV[1]), num(ARGV[3])
local have = num(call('HGET', key('logs', c.j), ARGV[1] .. ':' .. ARGV[2]))
if offset > have then return {'EGAP', have} end
if offset < have then return {'OK', have} end
have = have + #ARGV[5]
call('HSET', key('logs', c.j), ARGV[1] .. ':' .. ARGV[2], have)
if call('APPEND', name, ARGV[5]) > LOG_BYTES then call('SET', name, call('GETRANGE', name, -LOG_BYTES / 2, -1)) end
call('PUBLISH', key('log', c.j), table.concat({c.g, ARGV[2], ARGV[1], ARGV[4]}, ' ') .. '\n' .. ARGV[5])
return {'OK', have}
