-- Routing by number: ranges of E.164 numbers, from the public identity (tel:+1201… or sip:+1201…@…), first match
-- counts. Anybody else goes to the first configured server that has the NAF.
local RANGES = {
  { from = 12015550000, to = 12015554999, server = "north" },
  { from = 12015555000, to = 12015559999, server = "south" },
}

for _, range in ipairs(RANGES) do range.verdict = ims.forward { to = range.server } end

local function number_of(impu)
  local digits = impu:match("^tel:%+(%d+)") or impu:match("^sips?:%+(%d+)@")
  return digits and #digits <= 15 and tonumber(digits) -- 15 digits at most, ITU-T E.164
end

local policy = {}

function policy.broadcast(req, portion, ctx)
  local number = number_of(ctx.impu)
  if not number then return nil end
  for _, range in ipairs(RANGES) do
    if number >= range.from and number <= range.to then return range.verdict end
  end
end

return policy
