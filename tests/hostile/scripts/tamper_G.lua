-- error: leaves one in _G
return { authorized = function(req) _G.leaked = req.impi end }
