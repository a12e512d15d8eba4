-- error or memory or timeout: an error object whose __tostring fills the memory
return {
  authorized = function()
    error(setmetatable({}, { __tostring = function() return ("x"):rep(60000):rep(100) end }))
  end,
}
