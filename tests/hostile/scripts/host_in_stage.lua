-- error: what waits for a network, and what is run later, in the middle of a stage
return {
  authorized = function(req)
    assert(not pcall(http.get, "http://127.0.0.1:1/", {}, function() end))
    assert(not pcall(timer.every, 0, function() while true do end end))
    assert(not pcall(timer.after, 0, function() while true do end end))
    hss.lookup(req.impi, function() end)
  end,
}
