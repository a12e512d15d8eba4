-- error: claims to come from another file
return { authorized = function() error("/etc/shadow:1: forged", 0) end }
