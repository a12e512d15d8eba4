-- error or timeout or memory: a replacement that makes much of little
return {
  authorized = function()
    local every = re.compile("a")
    local text = ("a"):rep(4000)
    while true do text = every:replace(text, ("b"):rep(4000)) end
  end,
}
