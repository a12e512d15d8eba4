-- verdict: octets that could be one
return { authorized = function() return buffer.create(128) end }
