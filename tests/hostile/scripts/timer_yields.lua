-- error: a timer that yields out of its call
return { setup = function() timer.every(0.01, function() coroutine.yield() end) end }
