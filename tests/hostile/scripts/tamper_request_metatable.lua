-- error: reaches for the metatable of the request
return {
  authorized = function(req)
    local meta = getmetatable(req)
    meta.__index = function() return "evil" end
  end,
}
