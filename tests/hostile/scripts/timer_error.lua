-- error: a timer that fails every time
return { setup = function() timer.every(0.01, function() error("again") end) end }
