-- broadcast-by-region: the portion goes to the server of the region that the user is in, or that the user's number
-- belongs to. Who fits no region is left to the next in the chain.

local stages = {}

local conf = plugin.conf

-- "+49 151 …" as digits alone; nil where the identity is no number.
local function digits_of(impu)
  return string.match(impu, "^tel:%+?(%d+)") or string.match(impu, "^sips?:%+?(%d+)@")
end

-- What the settings say, in the form in which it is compared.
local function number_range(text, region)
  local from, to = string.match(text, "^%+?(%d+)%-%+?(%d+)$")
  if not from then return { beginning = string.match(text, "%d+") } end
  if #from ~= #to or from > to then
    error("regions[" .. region .. "]: the range " .. text .. " runs backwards, or its ends have different lengths")
  end
  return { from = from, to = to }
end

local regions = {}
for i, given in ipairs(conf.regions) do
  local region = { server = given.server, everybody = given.everybody, networks = {}, below = {}, numbers = {} }
  for _, network in ipairs(given.visited_networks) do
    local suffix = string.match(network, "^%*(%..+)$")
    if suffix then
      table.insert(region.below, string.lower(suffix))
    else
      region.networks[string.lower(network)] = true
    end
  end
  for _, text in ipairs(given.numbers) do
    table.insert(region.numbers, number_range(text, i))
  end
  regions[i] = region
end

local function fits_network(region, network)
  if region.networks[network] then return true end
  for _, suffix in ipairs(region.below) do
    if string.sub(network, -#suffix) == suffix then return true end
  end
  return false
end

local function fits_number(region, digits)
  for _, number in ipairs(region.numbers) do
    if number.beginning then
      if string.sub(digits, 1, #number.beginning) == number.beginning then return true end
    elseif #digits == #number.from and digits >= number.from and digits <= number.to then
      return true
    end
  end
  return false
end

-- A server gets keys of its own NAFs only, so one that does not have this NAF is no choice.
local function has_naf(server, naf_id)
  for _, naf in ipairs(server.naf_ids) do
    if naf == naf_id then return true end
  end
  return false
end

function stages.broadcast(req, portion, ctx)
  local network = ctx.visited_network and string.lower(ctx.visited_network)
  local digits = ctx.impu and digits_of(ctx.impu)
  for _, region in ipairs(regions) do
    if region.everybody or (network and fits_network(region, network)) or (digits and fits_number(region, digits)) then
      local server = ctx.servers:by_name(region.server)
      if server and has_naf(server, portion.naf_id) then
        return ims.forward {
          to = server.name,
          key = conf.key,
          when = conf.when,
          on_failure = ctx.all_or_nothing and "reject" or "pending",
        }
      end
    end
  end
  return nil
end

return stages
