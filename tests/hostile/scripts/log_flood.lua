-- timeout: lines without end
return { authorized = function() while true do log.warn("again") end end }
