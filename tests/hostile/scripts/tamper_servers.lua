-- error: gives a configured server another name
return { authorized = function(req, ctx) ctx.servers[1].name = "evil" end }
