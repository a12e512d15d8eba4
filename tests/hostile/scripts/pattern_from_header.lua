-- timeout: the terminal's own header is the pattern; here one that it could have sent
return {
  authorized = function(req)
    local sent = req:header("To") .. (".-"):rep(60) .. "\0"
    return ("a"):rep(2000):find((".-"):rep(60) .. "\0" .. #sent)
  end,
}
