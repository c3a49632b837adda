-- drain: asks a worker to take no more work (what runs ends), to take work again, or to leave the farm.
-- KEYS 1 meta.  ARGV 1 worker, 2 what: pause | resume | leave.  Returns OK | EUNKNOWN | ELEAVING (it was
-- asked to leave before: nothing keeps it).  Transitions: none here; the
-- worker gives back what it has not begun when its beat tells it.
local states = {resume = '0', pause = '1', leave = '2'}
local worker = worker_of(ARGV[1])
if not worker then return 'EUNKNOWN' end
if worker.drain == 2 and ARGV[2] ~= 'leave' then return 'ELEAVING' end
call('HSET', key('w', ARGV[1]), 'drain', states[ARGV[2]])
call('PUBLISH', key('control'), 'drain ' .. ARGV[1])
if ARGV[2] == 'resume' then
  for _, class in ipairs(call('HKEYS', key('profiles'))) do ring(class, 1) end
  flush()
end
return 'OK'
