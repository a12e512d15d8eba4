-- error: an error object whose __tostring is an error, and so on
return {
  authorized = function()
    local meta = {}
    meta.__tostring = function() error(setmetatable({}, meta)) end
    error(setmetatable({}, meta))
  end,
}
