-- error: a table that is its own __call
return {
  authorized = function()
    local t = {}
    setmetatable(t, { __call = t })
    t()
  end,
}
