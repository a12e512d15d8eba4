-- error or timeout: __tostring asks itself
return {
  authorized = function()
    local t = setmetatable({}, { __tostring = function(t) return tostring(t) end })
    return tostring(t)
  end,
}
