-- timeout or error or memory: the same, each level protected
return {
  authorized = function()
    local function nest()
      while true do pcall(coroutine.wrap(nest)) end
    end
    nest()
  end,
}
