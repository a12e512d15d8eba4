-- maintenance-window: in the operator's windows a new registration is answered 503 with a Retry-After that lies beyond
-- the end. Who is registered stays so: refreshes, deregistrations and emergency registrations pass.

local stages = {}

local conf = plugin.conf
local DAY = 24 * 60
local DAYS = { mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6, sun = 7 }

local function zone_minutes(text)
  local sign, hours, minutes = string.match(text, "^([+-])(%d%d):(%d%d)$")
  local offset = tonumber(hours) * 60 + tonumber(minutes)
  return sign == "-" and -offset or offset
end

local zone = zone_minutes(conf.zone)

local windows = {}
for i, text in ipairs(conf.windows) do
  local days, from, to = string.match(text, "^([%a,]*) ?(%d%d:%d%d)%-(%d%d:%d%d)$")
  local window = { from = time.minutes(from), to = time.minutes(to) }
  if window.from == window.to then error("windows[" .. i .. "]: " .. text .. " has no length") end
  if days ~= "" then
    window.days = {}
    for day in string.gmatch(days, "%a+") do window.days[DAYS[day]] = true end
  end
  windows[i] = window
end

-- Minutes until the window closes; nil where it is not open. A window over midnight belongs to the day it begins on.
local function rest_of(window, minutes, weekday)
  local function begins(day) return not window.days or window.days[day] end
  if window.from < window.to then
    if minutes >= window.from and minutes < window.to and begins(weekday) then return window.to - minutes end
    return nil
  end
  if minutes >= window.from and begins(weekday) then return DAY - minutes + window.to end
  local yesterday = weekday == 1 and 7 or weekday - 1
  if minutes < window.to and begins(yesterday) then return window.to - minutes end
  return nil
end

-- The URI parameter of TS 24.229 §5.1.6.2 marks an emergency registration.
local function is_emergency(req)
  local contact = req:header("Contact")
  return contact and string.find(string.lower(contact), ";sos") ~= nil
end

function stages.register(req, ctx)
  if ctx.kind ~= "initial" or is_emergency(req) then return nil end
  local now = time.date(ctx.now, zone)
  local longest
  for _, window in ipairs(windows) do
    local rest = rest_of(window, now.minutes, now.weekday)
    if rest and (not longest or rest > longest) then longest = rest end
  end
  if not longest then return nil end
  local seconds = longest * 60 - now.second + random.integer(1, math.max(1, math.floor(conf.spread)))
  return ims.reject(503, conf.reason, { retry_after = seconds })
end

return stages
