-- imscript test plugins/weighted-split

local function servers(t, ...)
  for _, name in ipairs { ... } do t:server(name, { naf = "tv.home1.net" }) end
end

local function asked(t, user, stage, failure)
  return t:ask(stage or "broadcast", {
    req = { impi = user .. "@home1.net" },
    portion = { naf_id = "tv.home1.net" },
    failure = failure,
  })
end

test("users are shared by weight", function(t)
  t:conf { weights = { a = 3, b = 1 } }
  servers(t, "a", "b", "c")
  local count = { a = 0, b = 0 }
  for i = 1, 200 do
    local to = asked(t, "user" .. i).to
    count[to] = count[to] + 1
  end
  t:is_true(count.a > 125 and count.a < 175, "a has " .. count.a .. " of 200, 150 is its share")
  t:equal(count.a + count.b, 200)
end)

test("a user stays, and moves only to a server that is new", function(t)
  local before = {}
  t:conf { weights = { a = 1, b = 1, c = 1 } }
  servers(t, "a", "b", "c")
  for i = 1, 40 do before[i] = asked(t, "user" .. i).to end
  for i = 1, 40 do t:equal(asked(t, "user" .. i).to, before[i]) end
  for i = 1, 40 do
    local without = t:ask("broadcast", {
      req = { impi = "user" .. i .. "@home1.net" },
      portion = { naf_id = "tv.home1.net" },
      ctx = { servers = { "a", "b" } },
    }).to
    if before[i] ~= "c" then t:equal(without, before[i], "who was not on c does not move") end
  end
end)

test("the stand-ins of one server's users are spread", function(t)
  t:conf { weights = { a = 1, b = 1, c = 1 } }
  servers(t, "a", "b", "c")
  local stand_in = { b = 0, c = 0 }
  for i = 1, 60 do
    if asked(t, "user" .. i).to == "a" then
      local verdict = asked(t, "user" .. i, "failure", { server = "a", attempt = 1 })
      t:equal(verdict.verdict, "retry")
      stand_in[verdict.to] = stand_in[verdict.to] + 1
    end
  end
  t:is_true(stand_in.b > 3 and stand_in.c > 3, "b " .. stand_in.b .. ", c " .. stand_in.c)
end)

test("it ends with the last server, the last attempt, or a refusal", function(t)
  t:conf { weights = { a = 1, b = 1, c = 0 }, attempts = 2 }
  servers(t, "a", "b", "c")
  local first = asked(t, "alice").to
  local second = asked(t, "alice", "failure", { server = first, attempt = 1 }).to
  t:is_true(second ~= first and second ~= "c")
  t:equal(asked(t, "alice", "failure", { server = second, attempt = 2 }).verdict, "give_up")
  t:equal(asked(t, "alice", "failure", { server = first, attempt = 1, status = 403 }).verdict, "give_up")
  t:equal(asked(t, "alice", "failure", { server = first, attempt = 1, status = 503 }).to, second)
  t:equal(asked(t, "alice", "failure", { server = "c", attempt = 1 }).verdict, "give_up", "nobody is left after c")
end)

test("of a NAF without weights it has no opinion", function(t)
  t:conf { weights = { a = 1, idle = 0 } }
  servers(t, "a")
  t:server("idle", { naf = "idle.home1.net" })
  t:server("other", { naf = "other.home1.net" })
  for _, naf in ipairs { "other.home1.net", "idle.home1.net" } do
    t:equal(t:ask("broadcast", { portion = { naf_id = naf } }).by, "default")
  end
end)

test("a server that is down is replaced by the other", function(t)
  t:conf { weights = { a = 1, b = 1 } }
  local machines = { a = t:server("a", { naf = "tv.home1.net" }), b = t:server("b", { naf = "tv.home1.net" }) }
  local terminal = t:terminal { naf_id = "tv.home1.net" }
  local first = t:ask("broadcast", { req = { impi = terminal.impi }, portion = { naf_id = "tv.home1.net" } }).to
  local second = first == "a" and "b" or "a"
  machines[first]:answers { status = 503 }
  t:expect(terminal:register(), { status = 200, headers = { ["Bcast-Ext"] = "state=registered" } })
  t:equal(#machines[second]:received(), 1)
end)
