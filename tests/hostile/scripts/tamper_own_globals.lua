-- verdict or error: replaces library functions in its own environment while it is loaded
tonumber = function() while true do end end
select = nil
return { authorized = function() return select("#", 1) end }
