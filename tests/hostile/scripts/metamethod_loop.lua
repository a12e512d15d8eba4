-- timeout: the loop is in an operator
return {
  authorized = function()
    local t = setmetatable({}, { __add = function() while true do end end })
    return t + 1
  end,
}
