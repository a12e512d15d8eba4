-- error: replaces what every string's methods come from
return { authorized = function() getmetatable("").__index = { find = function() return 1 end } end }
