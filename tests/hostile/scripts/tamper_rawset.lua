-- error: rawset past the lock
return {
  authorized = function()
    assert(not pcall(rawset, string, "find", 1))
    assert(not pcall(rawset, ims, "skip", 1))
    assert(not pcall(rawset, log, "info", 1))
    rawset(_G, "string", {})
  end,
}
