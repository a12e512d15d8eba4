-- imscript test plugins/status-webhook

local URL = "https://ops.example.net:8443/registrations"

local function world(t, more)
  local conf = { url = URL }
  for key, value in pairs(more or {}) do conf[key] = value end
  t:conf(conf)
  t:http_answers(URL, { status = 204 })
end

local function change(t, state, previous, more)
  local event = { system = "ims", state = state, previous = previous, impi = "alice@home1.net", servers = { "bsm" } }
  for key, value in pairs(more or {}) do event[key] = value end
  return t:ask("status", { event = event })
end

-- How many events a request carries.
local function events(request)
  local _, count = string.gsub(request.body, '"id":', "")
  return count
end

test("a change is posted, and nobody else's news is touched", function(t)
  world(t)
  t:equal(change(t, "registered", "not_registered").by, "default")
  t:equal(#t:http(), 0, "it waits for others")
  t:advance("1s")
  local requests = t:http()
  t:equal(#requests, 1)
  t:equal(requests[1].method, "POST")
  t:contains(requests[1].url, "/registrations")
  t:equal(requests[1].headers["content-type"], "application/json")
  t:contains(requests[1].body, '"impi":"alice@home1.net"')
  t:contains(requests[1].body, '"state":"registered"')
  t:contains(requests[1].body, '"servers":["bsm"]')
  t:advance("1h")
  t:equal(#t:http(), 0, "once")
end)

test("changes of the same second go together, up to the batch", function(t)
  world(t, { batch = 3 })
  for _ = 1, 5 do change(t, "registered", "not_registered") end
  t:advance("2s")
  local requests = t:http()
  t:equal(#requests, 2)
  t:equal(events(requests[1]), 3)
  t:equal(events(requests[2]), 2)
end)

test("refreshes, and systems that are not asked for, are left out", function(t)
  world(t, { systems = { "broadcast" } })
  change(t, "registered", "not_registered")
  change(t, "registered", "registered", { system = "broadcast" })
  t:advance("2s")
  t:equal(#t:http(), 0)
  change(t, "pending", "not_registered", { system = "broadcast" })
  t:advance("2s")
  t:equal(#t:http(), 1)
end)

test("what is not taken is tried again, later and later", function(t)
  world(t, { retry = "2 s" })
  t:http_answers(URL, { status = 503 })
  change(t, "registered", "not_registered")
  t:advance("1s")
  t:equal(#t:http(), 1)
  t:advance("2s")
  t:equal(#t:http(), 1)
  t:advance("3s")
  t:equal(#t:http(), 0, "the pause has doubled")
  t:http_answers(URL, { fails = "connection refused" })
  t:advance("1s")
  t:equal(#t:http(), 1)
  t:http_answers(URL, { status = 204 })
  change(t, "not_registered", "registered")
  t:advance("8s")
  local requests = t:http()
  t:equal(#requests, 1)
  t:equal(events(requests[1]), 2, "what came meanwhile goes along")
  t:advance("1h")
  t:equal(#t:http(), 0)
end)

test("a batch that is refused is given up, and the log says so", function(t)
  world(t)
  t:http_answers(URL, { status = 422 })
  change(t, "registered", "not_registered")
  t:advance("1h")
  t:equal(#t:http(), 1)
  t:contains(t:logs()[1].text, "refuses a batch")
end)

test("the queue is bounded: the oldest go", function(t)
  world(t, { queue = 3, batch = 10 })
  for i = 1, 5 do change(t, "registered", "not_registered", { impi = "user" .. i .. "@home1.net" }) end
  t:advance("1s")
  local body = t:http()[1].body
  t:is_nil(string.find(body, "user1@", 1, true))
  t:contains(body, "user3@")
  t:contains(body, "user5@")
end)

test("token and signature, and no identity in the clear if so wanted", function(t)
  world(t, { token = "t0ken", signing_key = "0123456789abcdef", identities = "hashed" })
  change(t, "registered", "not_registered")
  t:advance("1s")
  local request = t:http()[1]
  t:equal(request.headers.authorization, "Bearer t0ken")
  t:equal(#request.headers["x-signature"], #"sha256=" + 64)
  t:is_nil(string.find(request.body, "alice", 1, true))
end)

test("hashing without a key is refused when the plugin is loaded", function(t)
  world(t, { identities = "hashed" })
  t:raises(function() change(t, "registered", "not_registered") end, "needs a signing_key")
end)

test("a registration is told, and the other system as ever", function(t)
  world(t)
  local bsm = t:server("bsm")
  local terminal = t:terminal { naf_id = "bsm.home1.net" }
  t:expect(terminal:register(), { status = 200 })
  t:advance("2s")
  local told = 0
  for _, request in ipairs(t:http()) do told = told + events(request) end
  t:equal(told, 2, "with the IMS and with the broadcast server")
  t:is_true(#bsm:received() > 0)
end)

-- As long as real names get: the NAF of a network by its country and network code.
local NAF = "bsm.mbms.ims.mnc001.mcc001.3gppnetwork.org"
local LONG = { naf_id = NAF, impi = "001010123456789@ims.mnc001.mcc001.3gppnetwork.org", cause = "registered" }
local HASHED = { identities = "hashed", signing_key = "0123456789abcdef" }

test("a batch is bounded by octets too, and the rest follows", function(t)
  world(t, { batch = 200, identities = HASHED.identities, signing_key = HASHED.signing_key })
  for _ = 1, 250 do change(t, "registered", "not_registered", LONG) end
  t:advance("5s")
  local total = 0
  local requests = t:http()
  for _, request in ipairs(requests) do
    t:is_true(#request.body <= 64 * 1024, "what a request may have")
    t:contains(request.body, '"naf_id":"' .. NAF)
    t:equal(string.sub(request.body, -2), "]}")
    total = total + events(request)
  end
  t:is_true(events(requests[1]) < 200, "the octets are what bounds it")
  t:is_true(#requests[1].body > 60 * 1024, "and it is full")
  t:equal(total, 250)
  t:equal(t:metric("sent"), 250)
  t:equal(t:metric("dropped"), 0)
  t:equal(#t:faults(), 0)
end)

test("an event that no request can carry is given up alone, and counted", function(t)
  world(t)
  change(t, "registered", "not_registered", { impi = "before@home1.net" })
  -- json.encode takes it, the request around it does not; and one that not even json.encode takes.
  change(t, "registered", "not_registered", { impi = string.rep("a", 65536 - 190) })
  change(t, "registered", "not_registered", { impi = string.rep("a", 70000) })
  change(t, "registered", "not_registered", { impi = "after@home1.net" })
  t:advance("5s")
  local requests = t:http()
  t:equal(#requests, 1)
  t:equal(events(requests[1]), 2)
  t:contains(requests[1].body, "before@")
  t:contains(requests[1].body, "after@")
  t:equal(t:metric("dropped"), 2)
  t:equal(t:metric("sent"), 2)
  t:contains(t:logs()[1].text, "no request can carry it")
end)

-- The queue is bounded by number and by 1 KiB for each event of it. This fills the second bound, which takes more memory than
-- 10000 events of long names (half a KiB each) and far less time to ask.
test("the largest queue fits into the memory, and all of it is sent in the end", function(t)
  world(t, { queue = 10000, batch = 200, retry = "1 s", signing_key = HASHED.signing_key })
  t:http_answers(URL, { status = 503 })
  local event = { system = "broadcast", state = "registered", previous = "pending", servers = { "bsm" } }
  for key, value in pairs(LONG) do event[key] = value end
  event.impu = "sip:" .. string.rep("a", 30 * 1024) .. "@home1.net"
  local asked = { event = event }
  for i = 1, 340 do
    t:ask("status", asked)
    if i == 50 then t:advance("2s") end -- a batch comes back
  end
  local lost = t:metric("dropped")
  t:is_true(lost > 0 and lost < 20, "the queue is full, and what is over it is counted")
  t:http()
  t:http_answers(URL, { status = 204 })
  t:advance("1m")
  t:equal(t:metric("sent"), 340 - lost)
  t:equal(t:metric("dropped"), lost)
  t:equal(#t:faults(), 0)
  for _, line in ipairs(t:logs()) do t:contains(line.text, "no success") end
end)

test("a full queue of events with long names waits, and the oldest go", function(t)
  world(t, { queue = 500, batch = 200, retry = "1 s", identities = HASHED.identities, signing_key = HASHED.signing_key })
  t:http_answers(URL, { status = 503 })
  for i = 1, 510 do
    change(t, "registered", "not_registered", LONG)
    if i == 200 then t:advance("2s") end
  end
  t:equal(t:metric("dropped"), 10, "the oldest")
  t:http_answers(URL, { status = 204 })
  t:advance("1m")
  t:equal(t:metric("sent"), 500)
  t:equal(t:metric("dropped"), 10)
  t:equal(#t:faults(), 0)
end)
