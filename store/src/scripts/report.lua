-- report: a host's closing words about a job (what its frameworks print at their end, fixtures that failed late).
-- KEYS 1 meta.  ARGV 1 job, 2 JSON.  Returns OK | EUNKNOWN.  Transitions: none.
if not job_of(ARGV[1]) then return 'EUNKNOWN' end
if call('LPOS', key('result', ARGV[1]), ARGV[2]) then return 'OK' end -- the same report again
if call('RPUSH', key('result', ARGV[1]), ARGV[2]) > 1000 then call('LTRIM', key('result', ARGV[1]), -1000, -1) end
call('PUBLISH', key('events', ARGV[1]), 'report')
return 'OK'
