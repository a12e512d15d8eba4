-- error: the request is raised
return { authorized = function(req) error(req) end }
