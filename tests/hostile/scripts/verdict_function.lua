-- verdict: a constructor itself
return { authorized = function() return ims.accept end }
