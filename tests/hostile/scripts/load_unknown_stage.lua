-- refused: a stage that is none, with a name of 60 KB
return { [("x"):rep(60000)] = function() end }
