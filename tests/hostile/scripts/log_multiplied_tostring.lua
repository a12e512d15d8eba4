-- harmless or timeout or memory or error: the same by way of __tostring
return {
  authorized = function()
    local s = ("x"):rep(1000000)
    local word = setmetatable({}, { __tostring = function() return s end })
    log.info(table.unpack(table.create(7000, word)))
  end,
}
