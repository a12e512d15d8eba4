-- verdict: that of another stage
return { authorized = function() return ims.notify { to = "ims", by = "message" } end }
