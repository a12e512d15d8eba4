-- error: gives a configured server another NAF
return { authorized = function(req, ctx) ctx.servers[1].naf_ids[1] = "evil.example" end }
