-- error or timeout: a pattern as deep as the matcher's own stack
return { authorized = function() return ("a"):rep(60000):find(("a?"):rep(120) .. ("(a?)"):rep(30) .. "b") end }
