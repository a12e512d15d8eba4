-- error or timeout: coroutines within coroutines until the C stack ends
return {
  authorized = function()
    local function nest(n) return coroutine.wrap(nest)(n + 1) end
    nest(1)
  end,
}
