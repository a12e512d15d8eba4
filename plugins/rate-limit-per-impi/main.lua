-- rate-limit-per-impi: a token bucket for each user, in `shared`, so that all workers draw from the same one.
--
-- Reading and writing back are two steps: when two workers serve one user at the same instant, one token may be spent
-- twice. A limit that is one too generous does no harm; a lock for every REGISTER would.

local stages = {}

local conf = plugin.conf
local RATE = conf.per_minute / 60
-- A bucket that nobody touched for so long is full again, so it need not be kept.
local FULL_AFTER = math.ceil(conf.burst / RATE)

local refused = metric.counter("refused")

local function key_of(ctx)
  if conf.key == "impi" then return ctx.impi end
  -- Without the port: a terminal may take a new one for every connection.
  local address = string.match(ctx.source or "", "^(.*):%d+$") or ""
  return ctx.impi .. " " .. address
end

local function is_emergency(req)
  local contact = req:header("Contact")
  return contact and string.find(string.lower(contact), ";sos") ~= nil
end

function stages.register(req, ctx)
  -- Leaving makes room; and nobody counts calls for help.
  if ctx.kind == "deregister" or not ctx.impi or is_emergency(req) then return nil end

  local now = time.monotonic()
  local key = string.sub(key_of(ctx), 1, 256)
  local bucket = shared.get(key)
  local tokens = conf.burst
  if bucket then
    tokens = math.min(conf.burst, bucket.tokens + (now - bucket.at) * RATE)
  end
  if tokens < 1 then
    refused:add()
    return ims.reject(conf.status, "Too Many Registrations", { retry_after = math.ceil((1 - tokens) / RATE) })
  end
  shared.set(key, { tokens = tokens - 1, at = now }, { ttl = FULL_AFTER })
  return nil
end

return stages
