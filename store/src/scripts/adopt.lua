-- adopt: the owner of a job renews its deadline (same coordinator, its epoch), or another takes over (epoch 0), or
-- somebody only looks (epoch -1).
-- KEYS 1 meta.  ARGV 1 job, 2 coordinator, 3 epoch it holds, 0 or -1, 4 grace ms, 5 watch: 1 if somebody looks at live output, else 0
-- Returns {OK, epoch, state, seq, silent} | {ESTALE, epoch, state, seq, silent} (a newer owner exists) | {EUNKNOWN, 0, '', 0}.
-- silent: ms since the owner's last word, '' if nobody owns the job.
-- Transitions: none.
local job, epoch, grace = job_of(ARGV[1]), num(ARGV[3]), num(ARGV[4])
if not job then return {'EUNKNOWN', 0, '', '0'} end
local function silent()
  local till = call('ZSCORE', key('owners'), ARGV[1])
  return till and int(max(0, job.grace - (num(till) - NOW))) or ''
end
local function answer(word)
  return {word, job.owner_epoch, job.state, int(META.epoch) .. '-' .. int(job.seq), silent()}
end
if epoch > 0 and (epoch ~= job.owner_epoch or job.owner ~= ARGV[2]) then return answer('ESTALE') end
if epoch == 0 then
  bump(job, 'owner_epoch', 1)
  put(job, 'owner', ARGV[2])
end
if epoch >= 0 and grace > 0 and job_live(job) then
  put(job, 'grace', grace)
  call('ZADD', key('owners'), int(NOW + grace), ARGV[1])
end
if ARGV[5] == '1' then
  -- who begins to look does not wait for the workers' next beats
  if num(call('HGET', job.key, 'watched')) <= NOW then call('PUBLISH', key('control'), 'look') end
  call('HSET', job.key, 'watched', int(NOW + 10000))
end
flush()
return answer('OK')
