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

test("the HSS is asked once while its answer is fresh", function(t)
  t:conf { max_age = "5 min" }
  local terminal = t:terminal()
  terminal:register()
  local first = t:hss_calls()
  terminal:deregister()
  terminal:register()
  local second = t:hss_calls()
  t:advance("301s")
  terminal:deregister()
  terminal:register()
  t:is_true(t:hss_calls() - second > second - first, "the answer has become too old")
end)
