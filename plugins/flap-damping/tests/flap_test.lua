-- imscript test plugins/flap-damping

local function change(t, state, previous, more)
  local event = { system = "ims", state = state, previous = previous, impi = "alice@home1.net", servers = { "bsm" } }
  for key, value in pairs(more or {}) do event[key] = value end
  return t:ask("status", { event = event })
end

test("the first changes are told at once, the next are held back", function(t)
  t:conf { changes = 2, window = "5 min", hold = "90 s" }
  t:equal(change(t, "registered", "not_registered").by, "default")
  t:equal(change(t, "not_registered", "registered").by, "default")
  local verdict = change(t, "registered", "not_registered")
  t:equal(verdict.verdict, "notify")
  t:equal(verdict.by, "flap-damping")
  t:equal(verdict.after, 90)
  t:equal(verdict.to, { "bsm" })
end)

test("after the window counting begins anew", function(t)
  t:conf { changes = 1, window = "1 min" }
  change(t, "registered", "not_registered")
  t:equal(change(t, "not_registered", "registered").by, "flap-damping")
  t:advance("61s")
  t:equal(change(t, "registered", "not_registered").by, "default")
end)

test("refreshes and failures are left alone", function(t)
  t:conf { changes = 1 }
  for _ = 1, 5 do t:equal(change(t, "registered", "registered").by, "default") end
  change(t, "registered", "not_registered")
  t:equal(change(t, "failed", "registered").by, "default")
end)

test("users and systems are counted apart", function(t)
  t:conf { changes = 1 }
  change(t, "registered", "not_registered")
  t:equal(change(t, "registered", "not_registered", { impi = "bob@home1.net" }).by, "default")
  t:equal(change(t, "registered", "not_registered", { system = "broadcast" }).by, "default")
  local verdict = change(t, "not_registered", "registered", { system = "broadcast" })
  t:equal(verdict.to, { "ims" })
end)
