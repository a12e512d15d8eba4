-- status-webhook: posts every change of a registration to a web service.
--
-- Each worker keeps a queue of its own, of events as JSON text: that takes a fraction of the memory of tables, and sending
-- is only joining them, so no call takes long. The first event sets a timer; when it rings, a batch is posted, bounded by
-- number and by octets. What is not taken is posted again after a pause that doubles. An event leaves when the service
-- has said 2xx, so it may arrive twice, and has an id by which the service can tell. What is given up is counted. What still
-- waits when the plugin is replaced is left in `shared` for its successor.

local stages = {}

local conf = plugin.conf
local LONGEST_PAUSE = 300
local LEFT = "waiting "
local LEFT_FOR = 24 * 3600
local TEARDOWN = 0.04 -- seconds; less than `wall` in plugin.toml, so that what is not left is counted
local HEAD, TAIL = '{"events":[', "]}"
local LONGEST = 64 * 1024 - #HEAD - #TAIL -- octets of all events in a request
local SHARE = 1024 -- octets of one event, on average; the memory limit in plugin.toml is made for it

local sent = metric.counter("sent")
local failed = metric.counter("failed_requests")
local dropped = metric.counter("dropped")

local wanted = {}
for _, system in ipairs(conf.systems) do wanted[system] = true end

if conf.identities == "hashed" and not conf.signing_key then
  error("identities = \"hashed\" needs a signing_key")
end

-- A ring: no event is moved when one leaves. It has room for a full queue and a batch that comes back.
local size = conf.queue + conf.batch
local queue = table.create(size)
local first, waiting, octets = 0, 0, 0
local most_octets = math.max(conf.queue * SHARE, LONGEST)
local flying = {} -- the batch that is on its way; no longer in the queue
local timer_set = false
local pause = 0

local function identity(text)
  if not text or conf.identities == "plain" then return text end
  return hex.encode(hmac.sha256(conf.signing_key, text))
end

-- Takes away the oldest.
local function forget(count)
  for _ = 1, count do
    local slot = first % size + 1
    octets = octets - #queue[slot]
    queue[slot] = nil
    first = first + 1
    waiting = waiting - 1
  end
end

local function give_up_what_is_too_much()
  while waiting > conf.queue or octets > most_octets do
    forget(1)
    dropped:add()
  end
end

local function put(text)
  queue[(first + waiting) % size + 1] = text
  waiting = waiting + 1
  octets = octets + #text
  give_up_what_is_too_much()
end

-- What was on its way is the oldest again.
local function put_back()
  for i = #flying, 1, -1 do
    first = first - 1
    queue[first % size + 1] = flying[i]
    octets = octets + #flying[i]
    waiting = waiting + 1
    flying[i] = nil
  end
  give_up_what_is_too_much()
end

-- The oldest, as many as fit into a request; they stay in the queue.
local function oldest(most)
  local texts, room = {}, LONGEST + 1
  for i = 0, math.min(most, waiting) - 1 do
    local text = queue[(first + i) % size + 1]
    room = room - #text - 1
    if room < 0 then break end
    texts[i + 1] = text
  end
  return texts
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
  local count = #flying
  if answer and answer.status >= 200 and answer.status < 300 then
    flying = {}
    sent:add(count)
    pause = 0
  elseif answer and answer.status >= 400 and answer.status < 500 and answer.status ~= 408 and answer.status ~= 429 then
    -- It will not like them better the next time.
    flying = {}
    dropped:add(count)
    failed:add()
    log.error("the service refuses a batch", { status = answer.status, events = count })
  else
    put_back()
    failed:add()
    pause = math.min(LONGEST_PAUSE, math.max(conf.retry, pause * 2))
    log.warn("no success, tried again", { why = why or answer.status, seconds = pause, waiting = waiting })
  end
  if waiting > 0 then later(math.max(pause, 0.01)) end
end

-- Events of a predecessor, one request's worth, and only when there is little of our own: where they are they push none out
-- of the queue. Whoever deletes them first has them.
local function adopt()
  if waiting >= conf.batch then return end
  local key = shared.keys(LEFT, 1)[1]
  local texts = key and shared.get(key)
  if texts and shared.delete(key) then
    for _, text in ipairs(string.split(texts, "\n")) do put(text) end
  end
end

flush = function()
  if #flying > 0 then return end
  adopt()
  local texts = oldest(conf.batch)
  if #texts == 0 then return end
  local body = HEAD .. table.concat(texts, ",") .. TAIL
  local headers = { ["Content-Type"] = "application/json" }
  if conf.token then headers.Authorization = "Bearer " .. conf.token end
  if conf.signing_key then headers["X-Signature"] = "sha256=" .. hex.encode(hmac.sha256(conf.signing_key, body)) end
  http.post(conf.url, { headers = headers, body = body, timeout = math.min(conf.timeout, 10) }, answered)
  forget(#texts)
  flying = texts
end

function stages.status(event, ctx)
  if not wanted[event.system] then return nil end
  if event.state == event.previous and not conf.refreshes then return nil end
  local servers = {}
  for i = 1, #event.servers do servers[i] = event.servers[i] end
  -- Joined as they are later; one that no request can carry would stop all behind it.
  local fits, text = pcall(json.encode, {
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
  })
  if not fits or #text > LONGEST then
    dropped:add()
    log.warn("an event is given up: no request can carry it", { system = event.system, state = event.state })
    return nil
  end
  put(text)
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
  put_back()
  local ends = time.monotonic() + TEARDOWN
  -- In pieces that fit into one value. No octet of JSON is a line end.
  while waiting > 0 do
    local texts = oldest(waiting)
    local key = LEFT .. hex.encode(random.bytes(8))
    local kept, why = pcall(shared.set, key, table.concat(texts, "\n"), { ttl = LEFT_FOR })
    if kept then forget(#texts) end
    if waiting > 0 and (not kept or time.monotonic() > ends) then
      dropped:add(waiting)
      log.error("not all that waits could be left to the successor", { given_up = waiting, why = why or "no time" })
      return
    end
  end
end

return stages
