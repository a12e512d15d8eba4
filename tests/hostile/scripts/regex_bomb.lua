-- error or timeout: regular expressions that a backtracking engine, or a compiler of them, chokes on
local patterns = { re.compile("(a+)+$"), re.compile("(a|aa)+!!"), re.compile("(a*)*(a*)*(a*)*x"), re.compile("(.*?,){11}P") }
return {
  authorized = function()
    local text = ("a"):rep(4000)
    assert(not pcall(re.compile, "((a{1000}){1000}){1000}"))
    assert(not pcall(re.compile, ("("):rep(500) .. ("a{9}{9}{9}{9}{9}{9}")))
    assert(not pcall(re.compile, "(a)\\1"))
    while true do
      for _, pattern in patterns do pattern:test(text) end
    end
  end,
}
