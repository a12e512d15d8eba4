-- error: a reason that would write header fields
return { authorized = function() return ims.reject(403, "No\r\nX-Evil: 1\r\n\r\n") end }
