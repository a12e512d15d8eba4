-- timeout or memory: catches "not enough memory" and asks for more
return {
  authorized = function()
    local keep = {}
    while true do
      pcall(function()
        while true do keep[#keep + 1] = ("x"):rep(1e5) .. #keep end
      end)
    end
  end,
}
