-- memory or error: a buffer of a gigabyte
return { authorized = function() return buffer.create(2 ^ 30) end }
