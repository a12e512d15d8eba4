-- error: writes into the request
return { authorized = function(req) req.impi = "root@home1.net" end }
