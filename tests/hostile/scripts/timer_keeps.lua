-- memory or error or timeout: a timer that keeps a little more each time, in the VM and in the host
local kept, n = {}, 0
return { setup = function()
  timer.every(0.01, function()
    for _ = 1, 20 do
      n = n + 1
      kept[n] = ("k"):rep(50000) .. n
      shared.set("k" .. n, kept[n])
    end
  end)
end }
