-- timeout: pcall around an endless loop, in an endless loop
return {
  authorized = function()
    while true do
      pcall(function() while true do end end)
    end
  end,
}
