-- lib/results: one attempt's result, fenced: only the claim's own worker may end it, and once.
local function keep_detail(job, c, task, detail)
  if detail == '' then return '' end
  if job.det_bytes + #detail > job.det_budget then return ' -' end
  bump(job, 'det_bytes', #detail)
  call('HSET', key('det', c.j, c.g, floor(task / BUCKET)), task .. ':' .. int(c.fence), detail)
  return ' d'
end
-- what this slot paid to set up wider fixtures is what stealing half of its run would cost again
local function learn(c, group, wide)
  if wide > 0 then bump(group, 'wide_n', 1); bump(group, 'wide_us', wide) end
  if group.wide_n == 0 then return end
  local cur, field = key('cur', c.j, c.lane), c.worker .. ':' .. c.slot
  local text = call('HGET', cur, field)
  if not text then return end
  local e = parse_entry(text)
  if wide <= e.cost then return end
  -- cheaper than was feared: somebody may be waiting to steal
  if wide < cut_cost(group, e) then ring(lane_of(c.j, c.lane).class, 1, job_of(c.j)) end
  e.cost = wide
  call('HSET', cur, field, entry_text(e))
end
-- the claim has gone: the same result again is DUP, one that lost its lease is STALE
local function late_verdict(fence, j, g, task)
  local r = group_of(j, g) and record_of(j, g, task)
  return r and r.fence == num(fence) and string.find('PFETSC', r.state, 1, true) and 'DUP' or 'STALE'
end
local function take_result(w, fence, j, g, task, outcome, us, wide, detail)
  task, us, wide = whole(task), whole(us) or 0, whole(wide) or 0
  if not task or #outcome ~= 1 or not string.find('PFETSCY', outcome, 1, true) then return 'STALE' end
  local c = claim_of(fence)
  if not c then return late_verdict(fence, j, g, task) end
  if c.worker ~= w or c.j ~= j or c.g ~= g or task < c.first or task >= c.first + c.count then return 'STALE' end
  if not c.preloaded then preload(j, g, c.first, c.count); c.preloaded = true end
  local r = record_of(c.j, c.g, task)
  if not r or r.fence ~= c.fence then return 'STALE' end
  if r.state ~= 'R' then return 'DUP' end
  if outcome == 'Y' then yield(c, task); return 'OK' end

  local job, group = home(c)
  bump(group, 'running', -1)
  local more = c.place .. keep_detail(job, c, task, detail) .. (wide > 0 and ' w' .. wide or '')
  local bad = outcome == 'F' or outcome == 'E' or outcome == 'T'
  if bad then r.fails = r.fails + 1 end
  if outcome == 'P' then
    bump(group, 'done_n', 1)
    bump(group, 'done_us', max(0, us - wide))
  end
  if outcome == 'P' or outcome == 'F' then learn(c, group, wide) end
  if bad and r.fails <= group.retries and may_return(job, group, c, task) then
    emit(job, '- ' .. group.g .. ' ' .. task .. ' ' .. outcome .. ' ' .. int(r.fence) .. ' ' .. int(us) .. ' ' .. more)
    requeue(job, group, task, r, c, 'retry', false)
  else
    terminal(job, group, task, r, outcome, us, more)
  end
  leave(job, c)
  check_group(job, group)
  return 'OK'
end
