-- timeout or error: two billion entries that are not there
return { authorized = function() table.move({}, 1, 2 ^ 31 - 3, 2) end }
