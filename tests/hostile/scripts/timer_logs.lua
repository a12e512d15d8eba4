-- harmless or timeout: timers that fill the log
return { setup = function()
  for _ = 1, 60 do timer.every(0.01, function() for _ = 1, 50 do log.error(("x"):rep(300)) end end) end
end }
