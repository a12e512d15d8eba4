-- harmless: a line that would be two
return { authorized = function() log.warn("a\r\n2026-01-01 ERROR imscript: forged\27[2J\0") end }
