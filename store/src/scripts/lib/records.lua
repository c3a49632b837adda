-- lib/records: the mutable record of a task, "STATE fence fails losses company us" (shorter once it has passed).
-- A task that was never claimed has none. STATE: Q ready again, R running, and the terminal
-- P passed, F failed, E errored, T timed-out, L lost, S skipped, C cancelled.
local buckets = {}
local last_j, last_g, last_n, last_bucket -- most calls stay in one bucket
local function bucket_of(j, g, task)
  local n = floor(task / BUCKET)
  if n == last_n and g == last_g and j == last_j then return last_bucket end
  local name = key('rec', j, g, n)
  local b = buckets[name]
  if not b then b = {name = name, cache = {}, writes = {}}; buckets[name] = b end
  last_j, last_g, last_n, last_bucket = j, g, n, b
  return b
end
local match, format = string.match, string.format
local function parse_record(text)
  local fresh = match(text, '^R (%d+) 0 0 0 0$')
  if fresh then return {state = 'R', fence = tonumber(fresh), fails = 0, losses = 0, company = 0, us = 0} end
  local s, f, fails, losses, company, us = match(text, '^(%a) (%d+) (%d+) (%d+) (%d+) (%d+)')
  if not s then -- a task that passed at once keeps a tombstone: "P fence us"
    s, f, us = string.match(text, '^(%a) (%d+) (%d+)$')
    fails, losses, company = 0, 0, 0
  end
  return {state = s, fence = tonumber(f), fails = tonumber(fails), losses = tonumber(losses),
    company = tonumber(company), us = tonumber(us)}
end
local function record_of(j, g, task)
  local b = bucket_of(j, g, task)
  local r = b.cache[task]
  if r == nil then
    local text = call('HGET', b.name, task % BUCKET)
    r = text and parse_record(text) or false
    b.cache[task] = r
  end
  return r or nil
end
-- reads one stretch of records with one command a bucket
local function preload(j, g, first, count)
  local task = first
  while task < first + count do
    local b, fields, tasks = bucket_of(j, g, task), {}, {}
    local stop = min(first + count, (floor(task / BUCKET) + 1) * BUCKET)
    while task < stop do
      if b.cache[task] == nil then fields[#fields + 1] = task % BUCKET; tasks[#tasks + 1] = task end
      task = task + 1
    end
    if #fields > 0 then
      local values = call('HMGET', b.name, unpack(fields))
      for i, t in ipairs(tasks) do b.cache[t] = values[i] and parse_record(values[i]) or false end
    end
  end
end
local function save_record(j, g, task, r)
  local b = bucket_of(j, g, task)
  b.cache[task] = r
  if r.fails + r.losses + r.company == 0 then
    if r.state == 'P' then b.writes[task % BUCKET] = 'P ' .. r.fence .. ' ' .. r.us; return end
    if r.state == 'R' then b.writes[task % BUCKET] = 'R ' .. r.fence .. ' 0 0 0 0'; return end
  end
  b.writes[task % BUCKET] = format('%s %.0f %d %d %d %.0f', r.state, r.fence, r.fails, r.losses, r.company, r.us)
end
local function flush_records()
  for _, b in pairs(buckets) do
    local args = {}
    for field, text in pairs(b.writes) do args[#args + 1] = field; args[#args + 1] = text end
    if #args > 0 then call('HSET', b.name, unpack(args)); b.writes = {} end
  end
end
