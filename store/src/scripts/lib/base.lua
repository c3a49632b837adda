-- lib/base: one clock, the caches of jobs, groups and lanes, and the flush that ends a script.
-- Every script reads TIME once, changes tables in memory, and writes each of them back once in flush().
local PREFIX = string.sub(KEYS[1], 1, -5)
local call = redis.call
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local BUCKET = 100     -- tasks in one bucket of ids or records
local ITEMS = 200      -- no script touches more tasks than this
local STREAM = 2000    -- entries kept in a job's event stream, about

local function clock()
  local t = call('TIME')
  return tonumber(t[1]) * 1000 + floor(tonumber(t[2]) / 1000)
end
local NOW = clock()

local function key(...) return PREFIX .. table.concat({...}, ':') end
local function int(n) return string.format('%.0f', n) end
local function num(s) return tonumber(s) or 0 end
-- a whole number that survives being written (Lua writes 14 digits) and read again, or nil
local function whole(s)
  local n = tonumber(s)
  if n and n >= 0 and n < 1e14 and n == floor(n) then return n end
end
local function split(text, separator)
  local parts = {}
  for part in string.gmatch(text or '', '[^' .. separator .. ']+') do parts[#parts + 1] = part end
  return parts
end

local META = {}
do
  local m = call('HMGET', KEYS[1], 'epoch', 'last_reap', 'hold_until', 'slots')
  META.epoch = max(1, num(m[1])); META.last_reap = num(m[2]); META.hold_until = num(m[3]); META.slots = num(m[4])
end

-- Tables with write-back: the fields named are numbers; `dirty` remembers what changed.
local function load(name, texts, numbers)
  local fields = {}
  for _, f in ipairs(texts) do fields[#fields + 1] = f end
  for _, f in ipairs(numbers) do fields[#fields + 1] = f end
  local values = call('HMGET', name, unpack(fields))
  if not values[1] then return nil end
  local t = {key = name, dirty = {}}
  for i, f in ipairs(fields) do
    if i <= #texts then t[f] = values[i] or '' else t[f] = num(values[i]) end
  end
  return t
end
local function put(t, field, value)
  if t[field] ~= value then t[field] = value; t.dirty[field] = true end
end
local function bump(t, field, by) if by ~= 0 then put(t, field, t[field] + by) end end
local function store(t)
  local args = {}
  for f in pairs(t.dirty) do
    args[#args + 1] = f
    args[#args + 1] = type(t[f]) == 'number' and int(t[f]) or t[f]
  end
  if #args > 0 then call('HSET', t.key, unpack(args)); t.dirty = {} end
end

local jobs, groups, lanes = {}, {}, {}
local function job_of(j)
  if jobs[j] == nil then
    local t = load(key('job', j), {'state', 'submitter', 'cancel', 'outcome', 'owner', 'pools'},
      {'priority', 'weight', 'max_slots', 'open_groups', 'sealed', 'groups', 'seq', 'owner_epoch', 'grace', 'detach',
       'det_bytes', 'det_budget', 'failures', 'max_failures', 'retention', 'gc_group', 'gc_bucket', 'created', 'refusals', 'soon'})
    if t then t.id = j; t.events = {}; t.lines = 0 end
    jobs[j] = t or false
  end
  return jobs[j] or nil
end
local COUNTS = {'added', 'ready', 'running', 'passed', 'failed', 'errored', 'timedout', 'lost', 'skipped', 'cancelled', 'flaky'}
local function group_of(j, g)
  local id = j .. ':' .. g
  if groups[id] == nil then
    local numbers = {'needs', 'sealed', 'collects', 'collector', 'retries', 'max_losses', 'done_n', 'done_us', 'wide_n', 'wide_us', 'collect_fence'}
    for _, c in ipairs(COUNTS) do numbers[#numbers + 1] = c end
    local t = load(key('group', j, g), {'state', 'kind', 'deps', 'lanes', 'reason', 'fate'}, numbers)
    if t then t.j = j; t.g = g end
    groups[id] = t or false
  end
  return groups[id] or nil
end
local function lane_of(j, l)
  local id = j .. ':' .. l
  if lanes[id] == nil then
    local t = load(key('lane', j, l), {'group', 'class', 'locks', 'wait'}, {'warm', 'waiting_since'})
    if t then t.j = j; t.l = l end
    lanes[id] = t or false
  end
  return lanes[id] or nil
end

local function gate_open(group)
  return group.state == 'open' or group.state == 'collecting' or group.state == 'sealed'
end
local function job_live(job) return job.state == 'open' or job.state == 'sealed' end
-- it takes nothing more, and what runs ends by itself
local function halting(job) return job.state == 'closing' and job.cancel == 'halt' end
local function job_over(state) return state ~= 'open' and state ~= 'sealed' and state ~= 'closing' end
local function group_over(state)
  return state == 'succeeded' or state == 'failed' or state == 'skipped' or state == 'cancelled'
end

local function emit(job, line)
  local n = job.lines + 1
  job.lines = n; job.events[n] = line
end

-- occupied slots, by job ('j:') and by submitter ('s:'): deltas written once
local occupied_cache, occupied_delta = {}, {}
local function occupied(name)
  local value = occupied_cache[name]
  if not value then value = num(call('HGET', key('occupied'), name)); occupied_cache[name] = value end
  return value + (occupied_delta[name] or 0)
end
local function occupy(job, by)
  for _, name in ipairs({'j:' .. job.id, 's:' .. job.submitter}) do
    occupied_delta[name] = (occupied_delta[name] or 0) + by
  end
end

local bells = {}       -- class -> number of newly ready tasks
-- each worker that has refused the job may take one token away from those that have not
local function ring(class, n, job) bells[class] = (bells[class] or 0) + n + (job and job.refusals or 0) end
local function satisfies(profile, class)
  if class == '' then return true end
  local have = ',' .. profile .. ','
  for label in string.gmatch(class, '[^,]+') do
    if not string.find(have, ',' .. label .. ',', 1, true) then return false end
  end
  return true
end
local function ring_all()
  if next(bells) == nil then return end
  for _, profile in ipairs(call('HKEYS', key('profiles'))) do
    local tokens = 0
    for class, n in pairs(bells) do if satisfies(profile, class) then tokens = tokens + n end end
    if tokens > 0 then
      local bell, push = key('bell', profile), {}
      for i = 1, min(tokens, 64) do push[i] = '1' end
      call('RPUSH', bell, unpack(push)); call('LTRIM', bell, -64, -1)
    end
  end
end

-- ends every script: counters, events (one XADD and one PUBLISH a job), bells
local function flush()
  for _, t in pairs(groups) do if t then store(t) end end
  for _, t in pairs(lanes) do if t then store(t) end end
  for name, by in pairs(occupied_delta) do
    if by ~= 0 and call('HINCRBY', key('occupied'), name, by) <= 0 then call('HDEL', key('occupied'), name) end
  end
  for j, job in pairs(jobs) do
    if job then
      if job.lines > 0 then
        bump(job, 'seq', 1)
        local id = int(META.epoch) .. '-' .. int(job.seq)
        local lines = table.concat(job.events, '\n')
        call('XADD', key('events', j), 'MAXLEN', '~', STREAM, id, 'e', lines)
        call('PUBLISH', key('events', j), id .. '\n' .. lines)
        job.events = {}; job.lines = 0
      end
      store(job)
    end
  end
  ring_all()
end
