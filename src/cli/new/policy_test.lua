-- imscript test @FILE@

test("a terminal is registered with both systems", function(t)
  local server = t:server("bsm")
  local terminal = t:terminal { naf_id = "bsm.home1.net" }

  t:expect(terminal:register(), { status = 200, headers = { ["Bcast-Ext"] = "state=registered" } })
  local received = server:received()
  t:equal(#received, 1)
  t:is_true(received[1].key, "the key goes along")
end)

test("an unknown NAF costs nobody the IMS registration", function(t)
  local terminal = t:terminal { naf_id = "unknown.example" }

  t:expect(terminal:register(), { status = 200, headers = { ["Bcast-Ext"] = "state=failed" } })
  t:is_true(terminal:is_registered())
end)

test("a refresh asks the HSS no sooner than after five minutes", function(t)
  t:equal(t:ask("verify", { req = { kind = "refresh" } }).max_age, 300)
  t:equal(t:ask("verify").subscription, "always")
end)
