-- harmless or memory or error or timeout: lines of megabytes
return {
  authorized = function()
    local s = ("x"):rep(60000):rep(16)
    for _ = 1, 3 do log.info(s, s, s, s) end
  end,
}
