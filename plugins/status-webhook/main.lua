-- status-webhook: posts every change of a registration to a web service.
--
-- Each worker keeps a queue of its own. The first event sets a timer; when it rings, a batch is posted. What is not taken
-- is posted again after a pause that doubles. An event leaves the queue when the service has said 2xx, so it may arrive
-- twice, and has an id by which the service can tell. What still waits when the plugin is replaced is left in `shared`
-- for its successor.

local stages = {}

local conf = plugin.conf
local LONGEST_PAUSE = 300
local LEFT = "left "

local sent = metric.counter("sent")
local failed = metric.counter("failed_requests")
local dropped = metric.counter("dropped")

local wanted = {}
for _, system in ipairs(conf.systems) do wanted[system] = true end

if conf.identities == "hashed" and not conf.signing_key then
  error("identities = \"hashed\" needs a signing_key")
end

local queue = {}
local in_flight = 0 -- of the queue's first events
local timer_set = false
local pause = 0

local function identity(text)
  if not text or conf.identities == "plain" then return text end
  return hex.encode(hmac.sha256(conf.signing_key, text))
end

local function put(event)
  if #queue >= conf.queue then
    -- The oldest that is not on its way.
    table.remove(queue, in_flight + 1)
    dropped:add()
  end
  table.insert(queue, event)
end

local flush

local function later(seconds)
  if timer_set then return end
  timer_set = true
  timer.after(seconds, function()
    timer_set = false
    flush()
  end)
end

local function answered(answer, why)
  local count = in_flight
  in_flight = 0
  if answer and answer.status >= 200 and answer.status < 300 then
    for _ = 1, count do table.remove(queue, 1) end
    sent:add(count)
    pause = 0
  elseif answer and answer.status >= 400 and answer.status < 500 and answer.status ~= 408 and answer.status ~= 429 then
    -- It will not like them better the next time.
    for _ = 1, count do table.remove(queue, 1) end
    dropped:add(count)
    failed:add()
    log.error("the service refuses a batch", { status = answer.status, events = count })
  else
    failed:add()
    pause = math.min(LONGEST_PAUSE, math.max(conf.retry, pause * 2))
    log.warn("no success, tried again", { why = why or answer.status, seconds = pause, waiting = #queue })
  end
  if #queue > 0 then later(math.max(pause, 0.01)) end
end

-- Events of a predecessor: whoever deletes them first has them.
local function adopt()
  for _, key in ipairs(shared.keys(LEFT, 10)) do
    local events = shared.get(key)
    if events and shared.delete(key) then
      for _, event in ipairs(events) do put(event) end
    end
  end
end

flush = function()
  if in_flight > 0 then return end
  adopt()
  local events = {}
  for i = 1, math.min(#queue, conf.batch) do events[i] = queue[i] end
  if #events == 0 then return end
  local body = json.encode { events = events }
  local headers = { ["Content-Type"] = "application/json" }
  if conf.token then headers.Authorization = "Bearer " .. conf.token end
  if conf.signing_key then headers["X-Signature"] = "sha256=" .. hex.encode(hmac.sha256(conf.signing_key, body)) end
  in_flight = #events
  http.post(conf.url, { headers = headers, body = body, timeout = math.min(conf.timeout, 10) }, answered)
end

function stages.status(event, ctx)
  if not wanted[event.system] then return nil end
  if event.state == event.previous and not conf.refreshes then return nil end
  local servers = {}
  for i = 1, #event.servers do servers[i] = event.servers[i] end
  put {
    id = hex.encode(random.bytes(8)),
    time = ctx.now,
    system = event.system,
    state = event.state,
    previous = event.previous,
    cause = event.cause,
    impi = identity(event.impi),
    impu = identity(event.impu),
    naf_id = event.naf_id,
    servers = servers,
  }
  later(math.max(conf.delay, 0.01))
  return nil -- who else is told is for others to say
end

function stages.setup()
  -- On the first worker; the queue of a predecessor must not wait for the next event.
  timer.every(5, function()
    if #shared.keys(LEFT, 1) > 0 then later(0.01) end
  end)
end

function stages.teardown()
  -- In pieces that fit into one value.
  for first = 1, #queue, 50 do
    local piece = {}
    for i = first, math.min(first + 49, #queue) do table.insert(piece, queue[i]) end
    shared.set(LEFT .. hex.encode(random.bytes(8)), piece, { ttl = 3600 })
  end
end

return stages
