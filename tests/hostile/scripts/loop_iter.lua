-- timeout: an __iter that never ends
return {
  authorized = function()
    local endless = setmetatable({}, { __iter = function() return function() return 1 end end })
    for _ in endless do end
  end,
}
