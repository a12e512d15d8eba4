-- harmless or timeout: a timer that sets and cancels others without an end
return { setup = function()
  timer.every(0.01, function()
    for _ = 1, 200 do timer.after(1, function() end):cancel() end
  end)
end }
