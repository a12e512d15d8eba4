-- timeout: a timer that catches its own end
return { setup = function()
  timer.every(0.01, function() while true do pcall(function() while true do end end) end end)
end }
