-- error or timeout: every operator ends in itself
return {
  authorized = function()
    local meta = {}
    local t = setmetatable({}, meta)
    meta.__concat = function(a, b) return a .. b end
    meta.__unm = function(a) return -a end
    meta.__len = function(a) return #a end
    meta.__eq = function(a, b) return a == b end
    pcall(function() return t .. t end)
    pcall(function() return -t end)
    pcall(function() return #t end)
    return t == setmetatable({}, meta)
  end,
}
