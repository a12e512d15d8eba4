-- timeout: handlers of handlers
return {
  authorized = function()
    local function handler()
      while true do
        xpcall(error, function() while true do pcall(error) end end)
      end
    end
    xpcall(error, handler)
  end,
}
