-- imscript test plugins/rate-limit-per-impi

local function asked(t, impi, source, kind, contact)
  return t:ask("register", {
    req = {
      impi = impi or "alice@home1.net",
      source = source,
      kind = kind or "initial",
      headers = contact and { Contact = contact } or nil,
    },
  })
end

test("a burst passes, one more does not", function(t)
  t:conf { burst = 3, per_minute = 6 }
  for _ = 1, 3 do t:equal(asked(t).by, "default") end
  local verdict = asked(t)
  t:equal(verdict.by, "rate-limit-per-impi")
  t:equal(verdict.status, 500)
  t:equal(verdict.retry_after, 10)
end)

test("tokens come back with time, up to the burst", function(t)
  t:conf { burst = 2, per_minute = 6 }
  asked(t)
  asked(t)
  t:equal(asked(t).status, 500)
  t:advance("10s")
  t:equal(asked(t).by, "default")
  t:equal(asked(t).status, 500)
  t:advance("1h")
  asked(t)
  asked(t)
  t:equal(asked(t).status, 500)
end)

test("each user, and each address, has a bucket of its own", function(t)
  t:conf { burst = 2 }
  asked(t, "alice@home1.net", "192.0.2.1:5060")
  asked(t, "alice@home1.net", "192.0.2.1:5061")
  t:equal(asked(t, "alice@home1.net", "192.0.2.1:5062").status, 500, "the port does not matter")
  t:equal(asked(t, "alice@home1.net", "192.0.2.2:5060").by, "default")
  t:equal(asked(t, "bob@home1.net", "192.0.2.1:5060").by, "default")
end)

test("by identity alone", function(t)
  t:conf { burst = 2, key = "impi" }
  asked(t, nil, "192.0.2.1:5060")
  asked(t, nil, "192.0.2.2:5060")
  t:equal(asked(t, nil, "192.0.2.3:5060").status, 500)
end)

test("leaving and calling for help are not counted", function(t)
  t:conf { burst = 2, per_minute = 0.1 }
  for _ = 1, 5 do asked(t) end
  t:equal(asked(t, nil, nil, "deregister").by, "default")
  t:equal(asked(t, nil, nil, "initial", "<sip:alice@127.0.0.1:5070;sos>").by, "default")
end)

test("a terminal that registers again and again", function(t)
  t:conf { burst = 4, per_minute = 1 }
  local terminal = t:terminal()
  t:expect(terminal:register(), { status = 200 })
  t:expect(terminal:register(), { status = 200 })
  t:expect(terminal:register(), { status = 500, headers = { ["Retry-After"] = true } })
end)
