-- imscript test plugins/maintenance-window

local function asked(t, now, kind, contact)
  return t:ask("register", {
    req = { kind = kind or "initial", headers = contact and { Contact = contact } or nil },
    ctx = { now = now },
  })
end

test("in the window a new registration waits for its end", function(t)
  t:conf { windows = { "02:00-04:00" }, spread = "60 s" }
  local verdict = asked(t, "2026-11-22T03:00:00Z")
  t:equal(verdict.verdict, "reject")
  t:equal(verdict.status, 503)
  t:equal(verdict.reason, "Maintenance")
  t:is_true(verdict.retry_after > 3600 and verdict.retry_after <= 3660, "an hour, and up to a minute of spread")
end)

test("before and after it nothing is said", function(t)
  t:conf { windows = { "02:00-04:00" } }
  t:equal(asked(t, "2026-11-22T01:59:59Z").by, "default")
  t:equal(asked(t, "2026-11-22T04:00:00Z").by, "default")
  t:equal(asked(t, "2026-11-22T02:00:00Z").by, "maintenance-window")
end)

test("refreshes, deregistrations and emergencies pass", function(t)
  t:conf { windows = { "00:00-23:59" } }
  local noon = "2026-11-22T12:00:00Z"
  t:equal(asked(t, noon, "refresh").by, "default")
  t:equal(asked(t, noon, "deregister").by, "default")
  t:equal(asked(t, noon, "initial", "<sip:alice@127.0.0.1:5070;sos>").by, "default")
  t:equal(asked(t, noon, "initial", "<sip:alice@127.0.0.1:5070>").by, "maintenance-window")
end)

-- 22 November 2026 is a Sunday.
test("a window over midnight belongs to the day that it begins on", function(t)
  t:conf { windows = { "sat 23:30-05:00" } }
  t:equal(asked(t, "2026-11-21T23:30:00Z").by, "maintenance-window")
  t:equal(asked(t, "2026-11-22T04:59:00Z").by, "maintenance-window")
  t:equal(asked(t, "2026-11-22T05:00:00Z").by, "default")
  t:equal(asked(t, "2026-11-22T23:30:00Z").by, "default", "Sunday evening")
  t:equal(asked(t, "2026-11-21T04:00:00Z").by, "default", "Saturday morning")
end)

test("times are those of the zone", function(t)
  t:conf { windows = { "mon 01:00-02:00" }, zone = "+02:30" }
  t:equal(asked(t, "2026-11-22T22:30:00Z").by, "maintenance-window")
  t:equal(asked(t, "2026-11-23T01:00:00Z").by, "default")
end)

test("a terminal is turned away, and comes in later", function(t)
  t:clock("2026-11-22T03:59:00Z")
  t:conf { windows = { "02:00-04:00" }, spread = "1 s" }
  local terminal = t:terminal()
  t:expect(terminal:register(), { status = 503, headers = { ["Retry-After"] = "61" } })
  t:advance("61s")
  t:expect(terminal:register(), { status = 200 })
end)

test("a window without length is refused when the plugin is loaded", function(t)
  t:conf { windows = { "02:00-02:00" } }
  t:raises(function() asked(t, "2026-11-22T03:00:00Z") end, "has no length")
end)
