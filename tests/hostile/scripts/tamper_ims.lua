-- error: replaces a constructor
return { authorized = function() ims.reject = function() return ims.accept() end end }
