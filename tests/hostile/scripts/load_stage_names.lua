-- refused: a key whose __tostring never ends
return { [setmetatable({}, { __tostring = function() while true do end end })] = function() end }
