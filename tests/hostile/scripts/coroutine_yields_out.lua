-- error: the stage yields and never comes back
return { authorized = function() coroutine.yield(1) end }
