-- timeout: a word whose __tostring never ends
return {
  authorized = function()
    log.warn(setmetatable({}, { __tostring = function() while true do end end }))
  end,
}
