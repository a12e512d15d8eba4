-- error or timeout: calls itself until the stack ends
return {
  authorized = function()
    local function f(n) return f(n + 1) + 1 end
    return f(1)
  end,
}
