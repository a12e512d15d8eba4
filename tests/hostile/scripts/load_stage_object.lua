-- refused: a callable table is no stage
return { authorized = setmetatable({}, { __call = function() while true do end end }) }
