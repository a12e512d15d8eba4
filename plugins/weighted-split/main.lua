-- weighted-split: several servers of one NAF share the users by weight.
--
-- Weighted rendezvous hashing: every server draws a number from the user's identity and its own name, and the best draw
-- wins. So a user stays with a server as long as that is there; when one is added or taken away, only those move who have
-- to; and the second-best draw is everybody's own stand-in, so that the users of a server that fails do not all fall
-- upon the same other one.

local stages = {}

local conf = plugin.conf

local retried = metric.counter("retried")

-- From 0 to 1, both excluded: the same for the same texts on every node.
local function draw(impi, name)
  local octets = hash.sha256(impi .. "\0" .. name)
  local number = 0
  for i = 1, 6 do number = number * 256 + string.byte(octets, i) end
  return (number + 0.5) / 2 ^ 48
end

-- The servers of this NAF that have a weight, the user's first choice first.
local function choices(impi, naf_id, servers)
  local list = {}
  for i = 1, #servers do
    local server = servers[i]
    local weight = conf.weights[server.name]
    if weight then
      for _, naf in ipairs(server.naf_ids) do
        if naf == naf_id then
          -- A weight of 0 comes after all others.
          local score = weight > 0 and -weight / math.log(draw(impi, server.name)) or draw(impi, server.name) - 1
          table.insert(list, { name = server.name, score = score, weight = weight })
          break
        end
      end
    end
  end
  table.sort(list, function(a, b) return a.score > b.score end)
  return list
end

function stages.broadcast(req, portion, ctx)
  local list = choices(ctx.impi or "", portion.naf_id, ctx.servers)
  if not list[1] or list[1].weight == 0 then return nil end
  return ims.forward {
    to = list[1].name,
    key = conf.key,
    on_failure = ctx.all_or_nothing and "reject" or "pending",
  }
end

function stages.failure(req, failure, ctx)
  -- A server that says no to this user has answered; another would let in whom it has refused.
  if failure.status and failure.status < 500 and failure.status ~= 408 then return nil end
  if failure.attempt >= conf.attempts or not ctx.portion then return nil end
  local list = choices(ctx.impi or "", ctx.portion.naf_id, ctx.servers)
  for i, choice in ipairs(list) do
    if choice.name == failure.server and list[i + 1] then
      retried:add()
      return ims.retry { to = list[i + 1].name }
    end
  end
  return nil
end

return stages
