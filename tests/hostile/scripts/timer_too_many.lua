-- refused: more timers than there may be
return { setup = function() for _ = 1, 65 do timer.every(1, function() end) end end }
