-- adopt: the owner of a job renews its deadline (same coordinator, its epoch), or another takes over (epoch 0).
-- KEYS 1 meta.  ARGV 1 job, 2 coordinator, 3 epoch it holds or 0, 4 grace ms, 5 watch: 1 if somebody looks at live output, else 0
-- Returns {OK, epoch, state, seq} | {ESTALE, epoch, state, seq} (a newer owner exists) | {EUNKNOWN, 0, '', 0}.
-- Transitions: none.
local job, epoch, grace = job_of(ARGV[1]), num(ARGV[3]), num(ARGV[4])
if not job then return {'EUNKNOWN', 0, '', '0'} end
local function answer(word) return {word, job.owner_epoch, job.state, int(META.epoch) .. '-' .. int(job.seq)} end
if epoch ~= 0 and (epoch ~= job.owner_epoch or job.owner ~= ARGV[2]) then return answer('ESTALE') end
if epoch == 0 then
  bump(job, 'owner_epoch', 1)
  put(job, 'owner', ARGV[2])
end
if grace > 0 and job_live(job) then call('ZADD', key('owners'), int(NOW + grace), ARGV[1]) end
if ARGV[5] == '1' then call('HSET', job.key, 'watched', int(NOW + 10000)) end
flush()
return answer('OK')
