-- error: more results than the stack holds
return { authorized = function() return select("#", ("x"):rep(60000):rep(10):byte(1, -1)) end }
