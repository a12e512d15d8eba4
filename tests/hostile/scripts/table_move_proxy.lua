-- timeout or error: the same through metamethods
return {
  authorized = function()
    local proxy = setmetatable({}, { __index = function() return 1 end, __newindex = function() end })
    table.move(proxy, 1, 2 ^ 31 - 3, 2)
  end,
}
