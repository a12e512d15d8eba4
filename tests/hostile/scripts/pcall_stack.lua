-- timeout or error: overflows the stack, again and again
return {
  authorized = function()
    local function deep() return 1 + deep() end
    while true do pcall(deep) end
  end,
}
