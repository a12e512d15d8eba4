-- verdict: a table that looks like a verdict
return {
  authorized = function()
    return setmetatable({ expires = 600 }, { __index = ims, __type = "verdict", __tostring = function() return "ims.accept" end })
  end,
}
