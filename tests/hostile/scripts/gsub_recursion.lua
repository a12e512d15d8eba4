-- error or timeout: gsub calls gsub from its replacement
return {
  authorized = function()
    local function f(s) return (s:gsub(".", f)) end
    f("abc")
  end,
}
