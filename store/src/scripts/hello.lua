-- hello: the first call of every connection; notices another server behind the same address.
-- KEYS 1 meta.  ARGV 1 run id of the server, 2 schema of the caller.  Returns {OK | ESCHEMA, epoch, schema}.  Transitions: none.
local have = call('HMGET', KEYS[1], 'run_id', 'schema')
if have[2] and have[2] ~= ARGV[2] then return {'ESCHEMA', META.epoch, have[2]} end
if have[1] ~= ARGV[1] then
  -- the same server started again may have lost its last second: event numbers and fences must not be given twice
  META.epoch = call('HINCRBY', KEYS[1], 'epoch', 1)
  call('HINCRBY', KEYS[1], 'fence', 1000000)
  call('HSET', KEYS[1], 'run_id', ARGV[1], 'schema', ARGV[2])
end
return {'OK', META.epoch, ARGV[2]}
