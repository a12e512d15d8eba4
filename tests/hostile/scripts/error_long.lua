-- error or memory: a message of 2 MB
return { authorized = function() error(("x"):rep(1e6):rep(2)) end }
