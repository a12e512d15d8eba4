-- error: adds a method to every string
return { authorized = function() getmetatable("").__index.find = nil end }
