-- error: a module from outside of the folder
return { authorized = function() return require("../../../../etc/passwd") end }
