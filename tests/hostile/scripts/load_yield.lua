-- refused: the file yields
coroutine.yield({})
return {}
