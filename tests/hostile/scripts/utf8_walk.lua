-- error or timeout: megabytes counted and walked
return {
  authorized = function()
    local s = ("\xC3\xA9"):rep(30000):rep(16)
    while true do
      utf8.len(s)
      utf8.offset(s, 100000)
      for _ in utf8.codes(s) do end
    end
  end,
}
