-- timeout: a timer that loops without an end
return { setup = function() timer.every(0.01, function() while true do end end) end }
