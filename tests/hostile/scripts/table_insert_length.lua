-- timeout or error or harmless: a length that is made up
return {
  authorized = function()
    local t = setmetatable({}, { __len = function() return 2 ^ 31 - 2 end })
    table.insert(t, 1, "x")
    table.remove(t, 1)
  end,
}
