-- harmless or timeout or memory or error: thousands of words in one line
return { authorized = function() log.info(table.unpack(table.create(7000, ("x"):rep(1000)))) end }
