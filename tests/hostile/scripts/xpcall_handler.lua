-- timeout: the error handler is the loop
return {
  authorized = function()
    xpcall(function() while true do end end, function() while true do end end)
  end,
}
