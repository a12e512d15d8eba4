-- error: a proxy as the argument of a constructor
return {
  authorized = function()
    local proxy = setmetatable({}, {
      __index = function() return "evil" end,
      __iter = function() while true do end end,
      __len = function() return 5 end,
    })
    ims.accept(proxy)
    return ims.forward { to = proxy }
  end,
}
