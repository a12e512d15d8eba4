-- error or harmless: a word whose __tostring is an error
return {
  authorized = function()
    log.warn(setmetatable({}, { __tostring = function() error({}) end }))
  end,
}
