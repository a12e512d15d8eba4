-- timeout: a comparator that never answers
return { authorized = function() table.sort({ 1, 2, 3, 4, 5 }, function() while true do end end) end }
