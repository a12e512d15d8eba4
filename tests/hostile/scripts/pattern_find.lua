-- timeout: a pattern that tries every split of the text
return { authorized = function() return ("a"):rep(3000):find(".-.-.-.-b") end }
