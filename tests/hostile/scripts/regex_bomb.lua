-- error or timeout or memory: regular expressions that a backtracking engine, or a compiler of them, chokes on
return {
  authorized = function()
    local text = ("a"):rep(30000) .. "!"
    pcall(function() return re.compile("(a+)+$"):find(text) end)
    pcall(function() return re.find(text, "(a|aa)+$") end)
    pcall(function() return re.compile(("(a{1000}){1000}"):rep(10)) end)
    pcall(function() return re.compile(("("):rep(10000) .. (")"):rep(10000)) end)
    while true do
      pcall(re.compile or re.find, "(a*)*(a*)*(a*)*x" .. math.random(), text)
    end
  end,
}
