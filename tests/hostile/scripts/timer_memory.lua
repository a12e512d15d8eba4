-- memory or timeout: a timer that takes all memory
return { setup = function()
  timer.every(0.01, function()
    local all = {}
    while true do all[#all + 1] = ("x"):rep(60000) .. #all end
  end)
end }
