-- refused: a setup that loops without an end
return { setup = function() while true do end end }
