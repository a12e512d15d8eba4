-- Everybody is whom he says he is, as for Kamailio with plain.cfg.
local TRUST = ims.trust()

return { register = function() return TRUST end }
