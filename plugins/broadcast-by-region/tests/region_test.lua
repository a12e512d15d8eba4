-- imscript test plugins/broadcast-by-region

local function asked(t, impu, network)
  return t:ask("broadcast", {
    req = { impu = impu },
    portion = { naf_id = "tv.home1.net" },
    ctx = { visited_network = network },
  })
end

local function world(t)
  t:conf {
    regions = {
      { server = "north", visited_networks = { "North.net", "*.north.net" } },
      { server = "south", numbers = { "+491510000000-+491519999999", "+4989" } },
    },
  }
  t:server("rest", { naf = "tv.home1.net" })
  t:server("south", { naf = "tv.home1.net" })
  return t:server("north", { naf = "tv.home1.net" })
end

test("by visited network", function(t)
  world(t)
  t:equal(asked(t, "sip:alice@home1.net", "north.net").to, "north")
  t:equal(asked(t, "sip:alice@home1.net", "a.NORTH.net").to, "north")
  t:equal(asked(t, "sip:alice@home1.net", "notnorth.net").by, "default")
  t:equal(asked(t, "sip:alice@home1.net").by, "default")
end)

test("by number", function(t)
  world(t)
  t:equal(asked(t, "sip:+491510000000@home1.net").to, "south")
  t:equal(asked(t, "sip:+491519999999@home1.net").to, "south")
  t:equal(asked(t, "sip:+491520000000@home1.net").by, "default", "beyond the range")
  t:equal(asked(t, "sip:+4915100000001@home1.net").by, "default", "a digit more")
  t:equal(asked(t, "tel:+498912345").to, "south")
  t:equal(asked(t, "sip:4989@home1.net").to, "south")
  t:equal(asked(t, "sip:user4989@home1.net").by, "default", "a name with digits is no number")
end)

test("the first region that fits counts", function(t)
  world(t)
  t:equal(asked(t, "tel:+498912345", "north.net").to, "north")
end)

test("a server without the NAF is passed over", function(t)
  t:conf {
    regions = {
      { server = "lost", everybody = true },
      { server = "other", everybody = true },
      { server = "tv", everybody = true },
    },
  }
  t:server("other", { naf = "other.home1.net" })
  t:server("tv", { naf = "tv.home1.net" })
  t:equal(asked(t, "sip:alice@home1.net").to, "tv")
end)

test("all or nothing stays all or nothing", function(t)
  world(t)
  local verdict = t:ask("broadcast", {
    portion = { naf_id = "tv.home1.net" },
    ctx = { visited_network = "north.net", all_or_nothing = true },
  })
  t:equal(verdict.on_failure, "reject")
end)

test("a visitor's registration reaches the server of the region", function(t)
  local north = world(t)
  local terminal = t:terminal { naf_id = "tv.home1.net", visited_network = "north.net" }
  t:expect(terminal:register(), { status = 200, headers = { ["Bcast-Ext"] = "state=registered" } })
  t:equal(#north:received(), 1)
end)

test("a range that runs backwards is refused when the plugin is loaded", function(t)
  t:conf { regions = { { server = "x", numbers = { "+49200-+49100" } } } }
  t:raises(function() t:ask("broadcast", { portion = { naf_id = "x.home1.net" } }) end, "runs backwards")
end)
