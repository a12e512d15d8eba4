-- imscript test plugins/@NAME@

test("visitors go to the server of the settings", function(t)
  t:conf { server = "visitors" }
  t:server("bsm")
  local visitors = t:server("visitors", { naf = "bsm.home1.net" })
  local terminal = t:terminal { naf_id = "bsm.home1.net", visited_network = "visited.net" }

  local response = terminal:register()
  t:expect(response, { status = 200, headers = { ["Bcast-Ext"] = "state=registered" } })
  t:equal(#visitors:received(), 1)
end)

test("of those at home it has no opinion", function(t)
  local verdict = t:ask("broadcast", { portion = { naf_id = "bsm.home1.net" } })
  t:equal(verdict.by, "default")
end)

test("a server that nobody configured is said in the log", function(t)
  t:conf { server = "nowhere" }
  local verdict = t:ask("broadcast", {
    portion = { naf_id = "bsm.home1.net" },
    ctx = { visited_network = "visited.net" },
  })
  t:equal(verdict.to, "bsm")
  t:contains(t:logs()[1].text, "nowhere")
end)
