//! BCAST service provisioning: what a user asks to receive, and the answers (OMA BCAST Services 1.0 §5.1).
//!
//! The schema is known only in part: the root's local name picks the operation, namespaces do not matter on input,
//! unknown elements are skipped. The terminal's own octets are never rewritten, only read.

use crate::hss::BroadcastSubscription;
use crate::xml::{self, Element, XmlError, escape};
use std::fmt::Write;

/// Namespace written in requests and answers.
const NAMESPACE: &str = "urn:oma:xml:bcast:pr:orderqueries:1.0";
/// Purchase items of one request.
const ITEMS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisioningError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the root element is no service provisioning message")]
    UnknownMessage,
    #[error("more than {ITEMS_MAX} purchase items")]
    TooManyItems,
    #[error("{0} has no value that can be read")]
    Value(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Order or subscribe.
    Service,
    LtkmRenewal,
    Unsubscribe,
    TokenPurchase,
    PricingInformation,
    AccountInquiry,
}

impl Operation {
    const ALL: [(Operation, &'static str); 6] = [
        (Operation::Service, "Service"),
        (Operation::LtkmRenewal, "LTKMRenewal"),
        (Operation::Unsubscribe, "Unsubscribe"),
        (Operation::TokenPurchase, "TokenPurchase"),
        (Operation::PricingInformation, "PricingInformation"),
        (Operation::AccountInquiry, "AccountInquiry"),
    ];

    fn stem(self) -> &'static str {
        Self::ALL.iter().find(|(operation, _)| *operation == self).map_or("Service", |(_, stem)| stem)
    }

    fn of(root: &str, ending: &str) -> Option<Self> {
        let stem = root.strip_suffix(ending)?;
        Self::ALL.iter().find(|(_, known)| *known == stem).map(|(operation, _)| *operation)
    }
}

/// `globalStatusCode` and `itemwiseStatusCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusCode(pub u16);

impl StatusCode {
    pub const SUCCESS: StatusCode = StatusCode(0);
    pub const USER_AUTHENTICATION_FAILED: StatusCode = StatusCode(2);
    pub const ITEM_UNKNOWN: StatusCode = StatusCode(3);
    pub const USER_AUTHORISATION_FAILED: StatusCode = StatusCode(5);
    pub const SERVER_ERROR: StatusCode = StatusCode(7);
    pub const MALFORMED: StatusCode = StatusCode(8);
    pub const NO_SUBSCRIPTION: StatusCode = StatusCode(10);
    pub const OPERATION_NOT_PERMITTED: StatusCode = StatusCode(11);
}

/// A request, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub request_id: Option<String>,
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    /// `globalIDRef` of the purchase items, each once, in order.
    pub items: Vec<String>,
}

/// An answer: built here by a broadcast server, read here by a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub operation: Operation,
    pub request_id: Option<String>,
    pub status: StatusCode,
    pub items: Vec<(String, StatusCode)>,
}

impl Request {
    /// An order of `items`; without any it is a registration only.
    pub fn service(request_id: &str, user_id: Option<&str>, items: &[&str]) -> Self {
        Request {
            operation: Operation::Service,
            request_id: Some(request_id.to_string()),
            user_id: user_id.map(str::to_string),
            device_id: None,
            items: items.iter().map(|item| item.to_string()).collect(),
        }
    }

    pub fn parse(document: &[u8]) -> Result<Self, ProvisioningError> {
        let root = xml::parse(document)?;
        let operation = Operation::of(&root.name, "Request").ok_or(ProvisioningError::UnknownMessage)?;
        let mut items: Vec<String> = Vec::new();
        for element in purchase_items(&root)? {
            let item = element.attribute("globalIDRef").ok_or(ProvisioningError::Value("globalIDRef"))?;
            if !items.iter().any(|have| have == item) {
                items.push(item.to_string());
            }
        }
        Ok(Request {
            operation,
            request_id: root.attribute("requestID").map(str::to_string),
            user_id: root.text_of("UserID").map(str::to_string),
            device_id: root.text_of("DeviceID").map(str::to_string),
            items,
        })
    }

    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = head(self.operation, "Request", self.request_id.as_deref());
        out.push('>');
        if let Some(user) = &self.user_id {
            let _ = write!(out, "<UserID type=\"sipURI\">{}</UserID>", escape(user));
        }
        if let Some(device) = &self.device_id {
            let _ = write!(out, "<DeviceID>{}</DeviceID>", escape(device));
        }
        for item in &self.items {
            let _ = write!(out, "<PurchaseItem globalIDRef=\"{}\"/>", escape(item));
        }
        tail(out, self.operation, "Request")
    }

    /// The answer, item by item: `offered` says what this server has, `subscription` what the user may receive.
    /// The overall code is 0 only if all of it succeeded.
    pub fn answer(&self, offered: impl Fn(&str) -> bool, subscription: &BroadcastSubscription) -> Response {
        let code = |item: &String| match self.operation {
            Operation::Unsubscribe => StatusCode::SUCCESS,
            _ if !offered(item) => StatusCode::ITEM_UNKNOWN,
            _ if !allows(subscription, item) => StatusCode::NO_SUBSCRIPTION,
            _ => StatusCode::SUCCESS,
        };
        let (status, items) = match self.operation {
            Operation::TokenPurchase | Operation::PricingInformation | Operation::AccountInquiry => {
                (StatusCode::OPERATION_NOT_PERMITTED, Vec::new())
            }
            Operation::Service | Operation::LtkmRenewal if !subscription.is_subscribed() => {
                (StatusCode::NO_SUBSCRIPTION, Vec::new())
            }
            _ => {
                let items: Vec<_> = self.items.iter().map(|item| (item.clone(), code(item))).collect();
                let failed = items.iter().map(|(_, code)| *code).find(|code| *code != StatusCode::SUCCESS);
                (failed.unwrap_or(StatusCode::SUCCESS), items)
            }
        };
        Response { operation: self.operation, request_id: self.request_id.clone(), status, items }
    }

    /// The whole request refused.
    pub fn refusal(&self, status: StatusCode) -> Response {
        Response { operation: self.operation, request_id: self.request_id.clone(), status, items: Vec::new() }
    }
}

impl Response {
    /// For a request that could not be read at all.
    pub fn malformed() -> Self {
        Response { operation: Operation::Service, request_id: None, status: StatusCode::MALFORMED, items: Vec::new() }
    }

    pub fn parse(document: &[u8]) -> Result<Self, ProvisioningError> {
        let root = xml::parse(document)?;
        let operation = Operation::of(&root.name, "Response").ok_or(ProvisioningError::UnknownMessage)?;
        let code = |element: &Element, name: &'static str| match element.attribute(name) {
            Some(text) => text.trim().parse().map(StatusCode).map(Some).map_err(|_| ProvisioningError::Value(name)),
            None => Ok(None),
        };
        let status = code(&root, "globalStatusCode")?.ok_or(ProvisioningError::Value("globalStatusCode"))?;
        let mut items = Vec::new();
        for element in purchase_items(&root)? {
            let item = element.attribute("globalIDRef").ok_or(ProvisioningError::Value("globalIDRef"))?;
            items.push((item.to_string(), code(element, "itemwiseStatusCode")?.unwrap_or(status)));
        }
        let request_id = root.attribute("requestID").map(str::to_string);
        Ok(Response { operation, request_id, status, items })
    }

    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = head(self.operation, "Response", self.request_id.as_deref());
        let _ = write!(out, " globalStatusCode=\"{}\">", self.status.0);
        for (item, code) in &self.items {
            let item = escape(item);
            let _ = write!(out, "<PurchaseItem globalIDRef=\"{item}\" itemwiseStatusCode=\"{}\"/>", code.0);
        }
        tail(out, self.operation, "Response")
    }

    /// Items that the user got.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter(|(_, code)| *code == StatusCode::SUCCESS).map(|(item, _)| item.as_str())
    }
}

/// Whether a subscription covers a service.
pub fn allows(subscription: &BroadcastSubscription, item: &str) -> bool {
    match subscription {
        BroadcastSubscription::None => false,
        BroadcastSubscription::All => true,
        BroadcastSubscription::Services(ids) => ids.iter().any(|id| id == item),
    }
}

/// Purchase items at any depth: where exactly they stand differs between versions.
fn purchase_items(root: &Element) -> Result<Vec<&Element>, ProvisioningError> {
    let mut found = Vec::new();
    let mut open: Vec<_> = root.children.iter().rev().collect();
    while let Some(element) = open.pop() {
        if element.name == "PurchaseItem" {
            if found.len() == ITEMS_MAX {
                return Err(ProvisioningError::TooManyItems);
            }
            found.push(element);
        } else {
            open.extend(element.children.iter().rev());
        }
    }
    Ok(found)
}

fn head(operation: Operation, ending: &str, request_id: Option<&str>) -> String {
    let mut out = String::with_capacity(512);
    let stem = operation.stem();
    let _ = write!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{stem}{ending} xmlns=\"{NAMESPACE}\"");
    if let Some(id) = request_id {
        let _ = write!(out, " requestID=\"{}\"", escape(id));
    }
    out
}

fn tail(mut out: String, operation: Operation, ending: &str) -> Vec<u8> {
    let _ = writeln!(out, "</{}{ending}>", operation.stem());
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(ids: &[&str]) -> BroadcastSubscription {
        BroadcastSubscription::Services(ids.iter().map(|id| id.to_string()).collect())
    }

    #[test]
    fn claim_5_service_request_and_response() {
        let request = Request::service("42", Some("sip:u@home1.net"), &["a<1>", "b", "b"]);
        let read = Request::parse(&request.to_xml()).unwrap();
        assert_eq!(read.items, ["a<1>", "b"]);
        assert_eq!((read.request_id.as_deref(), read.user_id.as_deref()), (Some("42"), Some("sip:u@home1.net")));
        let answer = read.answer(|_| true, &BroadcastSubscription::All);
        assert_eq!(answer.status, StatusCode::SUCCESS);
        assert_eq!(Response::parse(&answer.to_xml()).unwrap(), answer);
        assert_eq!(answer.granted().collect::<Vec<_>>(), ["a<1>", "b"]);
    }

    #[test]
    fn item_by_item() {
        let request = Request::service("1", None, &["a", "b", "c"]);
        let answer = request.answer(|item| item != "c", &some(&["a", "c"]));
        let codes: Vec<_> = answer.items.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, [StatusCode::SUCCESS, StatusCode::NO_SUBSCRIPTION, StatusCode::ITEM_UNKNOWN]);
        assert_eq!(answer.status, StatusCode::NO_SUBSCRIPTION);
        assert_eq!(answer.granted().collect::<Vec<_>>(), ["a"]);
        assert_eq!(request.answer(|_| true, &BroadcastSubscription::None).status, StatusCode::NO_SUBSCRIPTION);
    }

    #[test]
    fn other_operations_and_foreign_documents() {
        let foreign = b"<x:UnsubscribeRequest xmlns:x='urn:x' requestID='9'><x:Ext/><x:List><x:PurchaseItem \
            globalIDRef='a'><x:Deep/></x:PurchaseItem></x:List></x:UnsubscribeRequest>";
        let request = Request::parse(foreign).unwrap();
        assert_eq!((request.operation, request.items.as_slice()), (Operation::Unsubscribe, &["a".to_string()][..]));
        assert_eq!(request.answer(|_| true, &BroadcastSubscription::None).status, StatusCode::SUCCESS);
        for name in ["LTKMRenewal", "TokenPurchase", "PricingInformation", "AccountInquiry"] {
            let request = Request::parse(format!("<{name}Request/>").as_bytes()).unwrap();
            let answer = String::from_utf8(request.answer(|_| true, &BroadcastSubscription::All).to_xml()).unwrap();
            assert!(answer.contains(&format!("<{name}Response")) && answer.contains("globalStatusCode="), "{answer}");
        }
        assert_eq!(Request::parse(b"<Order/>"), Err(ProvisioningError::UnknownMessage));
        assert!(Request::parse(b"<!DOCTYPE a><ServiceRequest/>").is_err());
        let many = "<PurchaseItem globalIDRef='1'/>".repeat(257);
        let many = format!("<ServiceRequest>{many}</ServiceRequest>");
        assert_eq!(Request::parse(many.as_bytes()), Err(ProvisioningError::TooManyItems));
    }
}
