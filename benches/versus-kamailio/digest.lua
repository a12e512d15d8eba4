-- Kamailio's routing in Lua: as digest.cfg.
function ksr_request_route()
  if KSR.kx.get_method() ~= "REGISTER" then
    KSR.sl.sl_send_reply(405, "Method Not Allowed")
    return
  end
  local ha1 = KSR.pv.getvs("$sht(users=>$fU)", "")
  if KSR.auth.pv_auth_check("home1.net", ha1, 1, 0) < 0 then
    KSR.auth.auth_challenge("home1.net", 1)
    return
  end
  KSR.registrar.save("location", 0)
end
