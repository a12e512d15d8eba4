-- error or timeout or harmless: a handler that fails in the same way
return {
  authorized = function()
    local function handler(e) error(e) end
    for _ = 1, 1000 do xpcall(error, handler, "x") end
    local function deep() return xpcall(deep, deep) end
    deep()
  end,
}
