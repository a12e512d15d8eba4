-- harmless or timeout or memory or error: a table as deep as the memory allows
return {
  authorized = function()
    local t = {}
    for _ = 1, 10000 do t = { t } end
    log.warn(t)
  end,
}
