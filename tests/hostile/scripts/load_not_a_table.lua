-- refused: the file returns a proxy for a table
return coroutine.create(function() end)
