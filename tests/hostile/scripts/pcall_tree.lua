-- timeout: a tree of protected calls, two at each node
return {
  authorized = function()
    local function f(n)
      if n > 150 then return end
      pcall(f, n + 1)
      pcall(f, n + 1)
    end
    f(0)
  end,
}
