//! The application request of figures 5 and 6: the terminal asks the broadcast server itself, over HTTP with Digest on
//! Ks_NAF (TS 24.109 §5, TS 33.222), or with a SIP MESSAGE through the S-CSCF.

use super::TerminalError;
use super::challenge::{self, Challenge, Protected, SecretKind};
use super::client::Terminal;
use super::http::{Http, Target};
use super::register::{PROVISIONING, rejected};
use super::registration::{provisioning_part, ua_password};
use crate::auth::digest::QopKind;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::NafId;
use crate::sip::{AuthParams, HeaderName, Message, RequestWriter};
use quick_xml::events::Event;
use tokio::time::Instant;

/// What the broadcast server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// HTTP status, or the SIP status of our MESSAGE.
    pub status: u16,
    pub response: ServiceResponse,
    pub body: Vec<u8>,
}

/// The root of a provisioning document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceResponse {
    /// Local name of the root.
    pub name: String,
    pub request_id: Option<String>,
    pub global_status: Option<String>,
}

impl ServiceResponse {
    /// None if it is no XML document, or has a DTD.
    pub fn read(document: &[u8]) -> Option<ServiceResponse> {
        let mut reader = quick_xml::Reader::from_reader(document);
        let mut found: Option<ServiceResponse> = None;
        loop {
            match reader.read_event().ok()? {
                Event::Start(root) | Event::Empty(root) if found.is_none() => {
                    let attribute = |name: &str| {
                        root.attributes()
                            .flatten()
                            .find(|attribute| attribute.key.local_name().as_ref() == name)
                            .map(|attribute| attribute.value.into_owned())
                    };
                    found = Some(ServiceResponse {
                        name: root.local_name().as_ref().to_owned(),
                        request_id: attribute("requestID"),
                        global_status: attribute("globalStatusCode"),
                    });
                }
                Event::DocType(_) => return None,
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    /// Success is 0, printed with any number of digits; an answer without a code is none.
    fn check(&self) -> Result<(), TerminalError> {
        match self.global_status.as_deref() {
            Some(code) if !code.is_empty() && code.bytes().all(|digit| digit == b'0') => Ok(()),
            None if self.name.ends_with("Response") => Ok(()),
            Some(code) => Err(TerminalError::ServiceRefused(format!("{} with status {code}", self.name))),
            None => Err(TerminalError::BadAnswer("the broadcast server's document is no response")),
        }
    }
}

/// A small ServiceRequest for use without a file.
pub fn sample_service_request(request_id: &str, user: &str) -> Vec<u8> {
    let escaped = quick_xml::escape::escape(user);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ServiceRequest xmlns=\"urn:oma:xml:bcast:pr:orderqueries:1.0\" requestID=\"{request_id}\">\n  \
         <UserID type=\"1\">{escaped}</UserID>\n  <PurchaseItem globalIDRef=\"urn:imscript:service:news\"/>\n\
         </ServiceRequest>\n"
    )
    .into_bytes()
}

/// POSTs `payload` to the NAF, is challenged, and answers with the B-TID and Ks_NAF (qop auth-int).
pub async fn ask_http(
    http: &Http,
    url: &str,
    naf: &NafId,
    btid: &str,
    key: &KsNaf,
    payload: &[u8],
    cnonce: String,
) -> Result<Application, TerminalError> {
    let target = Target::parse(url)?;
    let first = http.post(&target, PROVISIONING, payload, None).await?;
    if first.status != 401 {
        // A server that lets anyone in has not seen that we hold the key.
        return Err(match first.status {
            200..=299 => TerminalError::BadAnswer("the broadcast server asked for no proof of the key"),
            _ => TerminalError::ServiceRefused(format!("HTTP status {}", first.status)),
        });
    }
    let offered = first.challenges.iter().map(|value| AuthParams::parse(value));
    let challenge = Challenge::choose(offered, SecretKind::Password)?;
    if !names(&challenge.realm, naf) {
        return Err(TerminalError::BadAnswer("the realm is not that of the NAF which was asked"));
    }
    let password = ua_password(key);
    let request = Protected { username: btid, method: "POST", uri: &target.path, body: payload };
    let qop: Option<QopKind> = challenge.protection(true);
    let answered = challenge::answer(&challenge, request, &password, qop, cnonce, None);
    let second = http.post(&target, PROVISIONING, payload, Some(&answered.authorization)).await?;
    match second.status {
        200..=299 => {}
        401 => {
            return Err(TerminalError::ServiceRefused("it does not accept the proof of the key (401)".to_owned()));
        }
        status => return Err(TerminalError::ServiceRefused(format!("HTTP status {status}"))),
    }
    answered.check_rspauth(second.info.as_deref(), &password, &second.body)?;
    let response = ServiceResponse::read(&second.body)
        .ok_or(TerminalError::BadAnswer("the broadcast server sent no provisioning document"))?;
    response.check()?;
    Ok(Application { status: second.status, response, body: second.body })
}

impl Terminal {
    /// Figure 5a: POSTs `payload`, is challenged, and answers with the B-TID and Ks_NAF (qop auth-int).
    pub async fn application_request_http(
        &mut self,
        url: &str,
        naf: &NafId,
        payload: &[u8],
    ) -> Result<Application, TerminalError> {
        let key = self.ks_naf(naf).ok_or(TerminalError::NoKey("no AKA run yet"))?;
        let btid = self.btid().ok_or(TerminalError::NoKey("no B-TID"))?.text();
        let http = Http { timeout: self.settings.timeout, observer: self.observer.clone() };
        ask_http(&http, url, naf, &btid, &key, payload, self.identifiers.fresh()).await
    }

    /// Figure 5b: MESSAGE with `payload` and the B-TID through the S-CSCF; the ServiceResponse comes back in a MESSAGE.
    pub async fn application_request_sip(&mut self, naf: &NafId, payload: &[u8]) -> Result<Application, TerminalError> {
        let btid = self.btid().ok_or(TerminalError::NoKey("no B-TID: register with AKA first"))?.text();
        let asked = ServiceResponse::read(payload).and_then(|request| request.request_id);
        let request = self.message(naf, &btid, payload);
        let within = self.settings.timeout;
        let mut over_tcp = if self.is_too_large(&request) { self.open_tcp().await } else { None };
        let answer = over_tcp.as_mut().unwrap_or(&mut self.connection).request(&request, within).await?;
        let status = answer.status();
        if !(200..300).contains(&status) {
            return Err(rejected("MESSAGE", &answer));
        }
        let deadline = Instant::now() + within;
        loop {
            let Some(incoming) = self.connection.next_request(deadline).await? else {
                return Err(TerminalError::BadAnswer("no ServiceResponse came"));
            };
            let response = provisioning(&incoming);
            let accepted = incoming.method() == b"MESSAGE" || incoming.method() == b"NOTIFY";
            self.connection.respond(&incoming, if accepted { 200 } else { 501 }).await?;
            if let Some((response, body)) = response.filter(|(response, _)| {
                incoming.method() == b"MESSAGE"
                    && (asked.is_none() || response.request_id.is_none() || response.request_id == asked)
            }) {
                response.check()?;
                return Ok(Application { status, response, body });
            }
        }
    }

    fn message(&mut self, naf: &NafId, btid: &str, payload: &[u8]) -> Vec<u8> {
        let impu = &self.account.impu;
        let to = format!("sip:{}", naf.fqdn());
        let mut request = RequestWriter::new("MESSAGE", &to);
        for route in &self.service_route {
            request.header(HeaderName::Route, route);
        }
        request
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("<{impu}>;tag={}", self.identifiers.fresh()))
            .header(HeaderName::To, format!("<{to}>"))
            .header(HeaderName::CallId, self.identifiers.fresh())
            .header(HeaderName::CSeq, "1 MESSAGE")
            .header_named("P-Preferred-Identity", format!("<{impu}>"))
            .header(
                HeaderName::BcastExt,
                format!("profile=\"1.0\";naf-id=\"{}\";ua-id={};btid=\"{btid}\"", naf.fqdn(), naf.ua),
            );
        request.body(PROVISIONING, payload)
    }
}

/// `3GPP-bootstrapping@FQDN`: the NAF wants Ks_NAF, and says which NAF it is (TS 24.109 §5.2).
fn names(realm: &[u8], naf: &NafId) -> bool {
    let Some((prefix, fqdn)) = std::str::from_utf8(realm).ok().and_then(|realm| realm.split_once('@')) else {
        return false;
    };
    prefix.eq_ignore_ascii_case("3GPP-bootstrapping") && fqdn.eq_ignore_ascii_case(naf.fqdn())
}

fn provisioning(message: &Message<'_>) -> Option<(ServiceResponse, Vec<u8>)> {
    let document = provisioning_part(message)?;
    Some((ServiceResponse::read(&document)?, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_tells_the_outcome() {
        let read = |document: &str| ServiceResponse::read(document.as_bytes());
        let good =
            read("<?xml version='1.0'?><b:ServiceResponse xmlns:b='u' requestID='7' globalStatusCode='000'/>").unwrap();
        assert_eq!((good.name.as_str(), good.request_id.as_deref()), ("ServiceResponse", Some("7")));
        assert_eq!(good.check(), Ok(()));
        for refused in
            ["<ServiceResponse globalStatusCode='013'/>", "<ServiceRequest requestID='7'/>", "<R globalStatusCode=''/>"]
        {
            assert!(read(refused).unwrap().check().is_err(), "{refused}");
        }
        assert_eq!(read("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), None);
        assert_eq!(read("<a><b></a>"), None);
        assert_eq!(read("not XML"), None);
    }

    #[test]
    fn only_the_naf_that_was_asked_may_challenge() {
        let naf = NafId::parse("bsm.home1.net").unwrap();
        assert!(names(b"3GPP-bootstrapping@bsm.home1.net", &naf));
        for realm in ["3GPP-bootstrapping@bsm.home1.net.evil", "3GPP-bootstrapping-uicc@bsm.home1.net", "bsm.home1.net"]
        {
            assert!(!names(realm.as_bytes(), &naf));
        }
    }
}
