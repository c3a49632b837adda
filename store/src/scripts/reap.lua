-- reap: what `beat` and `next` do in passing, for a coordinator whose workers may all be dead.
-- KEYS 1 meta.  ARGV 1 limit of tasks.  Returns {tasks touched, now}.
-- Transitions: running -> ready|lost|cancelled; job open|sealed -> closing (owner gone, deadline).
mind_the_clock()
local n = reap(min(num(ARGV[1]), 100))
flush_claims()
return {n, int(NOW)}
