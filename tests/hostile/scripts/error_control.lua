-- error: a message that would write lines into the log
return { authorized = function() error("a\r\n2026-01-01 ERROR forged\27[31m\0", 0) end }
