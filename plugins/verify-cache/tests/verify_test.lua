-- imscript test plugins/verify-cache

test("a first registration takes an answer that is not too old", function(t)
  local verdict = t:ask("verify", { req = { kind = "initial" } })
  t:equal(verdict.subscription, "cached")
  t:equal(verdict.max_age, 300)
  t:equal(verdict.at, "after_authentication")
end)

test("refreshes and deregistrations ask nothing", function(t)
  t:equal(t:ask("verify", { req = { kind = "refresh" } }).subscription, "never")
  t:equal(t:ask("verify", { req = { kind = "deregister" } }).subscription, "never")
end)

test("as the operator says", function(t)
  t:conf { initial = "always", refresh = "new_services", max_age = "90 s", at = "before_challenge" }
  local verdict = t:ask("verify", { req = { kind = "initial" } })
  t:equal(verdict.subscription, "always")
  t:equal(verdict.at, "before_challenge")
  t:equal(t:ask("verify", { req = { kind = "refresh" } }).subscription, "new_services")
end)

test("visitors every time, if the operator wants it", function(t)
  t:conf { visitors = "always" }
  t:equal(t:ask("verify", { req = { kind = "refresh" }, ctx = { visited_network = "v.net" } }).subscription, "always")
  t:equal(t:ask("verify", { req = { kind = "refresh" } }).subscription, "never")
  local leaving = t:ask("verify", { req = { kind = "deregister" }, ctx = { visited_network = "v.net" } })
  t:equal(leaving.subscription, "never")
end)

-- UDR is the question for the subscription.
local function checks(t)
  local count = 0
  for _, call in ipairs(t:hss_calls()) do
    if call == "UDR" then count = count + 1 end
  end
  return count
end

test("the HSS is asked once while its answer is fresh", function(t)
  t:conf { max_age = "5 min" }
  local terminal = t:terminal { naf_id = "bsm.home1.net" }
  terminal:register()
  t:equal(checks(t), 1)
  terminal:deregister()
  terminal:register()
  t:equal(checks(t), 0)
  t:advance("301s")
  terminal:deregister()
  terminal:register()
  t:equal(checks(t), 1, "the answer has become too old")
end)
