-- timeout: formatting large numbers without end
return { authorized = function() while true do string.format("%99.99f", 1e308) end end }
