-- harmless: gives back more than was asked for
return { authorized = function() return nil, ims.reject(403), table.unpack(table.create(5000, 0)) end }
