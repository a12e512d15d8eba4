-- error or timeout or harmless: an __index behind every entry
return {
  authorized = function()
    local proxy = setmetatable({}, { __index = function() return "x" end, __len = function() return 1e9 end })
    return #table.concat(proxy, "", 1, 1e9)
  end,
}
