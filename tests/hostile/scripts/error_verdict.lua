-- error: a verdict is raised and not returned
return { authorized = function() error(ims.reject(403, "raised")) end }
