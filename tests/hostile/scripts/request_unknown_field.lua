-- error: a field whose name is 2 MB
return { authorized = function(req) return req[("x"):rep(60000):rep(30)] end }
