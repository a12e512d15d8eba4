//! The face of Ua and Ub to axum: requests in plain values, answered on the worker that holds the role. axum's handlers
//! may run on any thread, a role stays on its own; [`router`] and [`serve`] join the two by a bounded channel.

use crate::answer::{Answer, Task};
use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderMap, header};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Largest request body.
pub const BODY_MAX: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// An HTTP request as far as the roles need it.
#[derive(Debug, Default, Clone)]
pub struct HttpRequest {
    pub method: String,
    /// The request target as sent; the digest's `uri` must be the same.
    pub target: String,
    pub host: Option<String>,
    pub authorization: Option<String>,
    pub user_agent: Option<String>,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl HttpResponse {
    pub fn plain(status: u16) -> Self {
        HttpResponse { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Says why, to the person who looks.
    pub fn because(status: u16, why: impl std::fmt::Display) -> Self {
        let body = format!("{why}\n").into_bytes();
        HttpResponse { body, ..Self::plain(status).with("content-type", "text/plain; charset=utf-8") }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| *have == name).map(|(_, value)| value.as_str())
    }
}

/// Inside of a quoted-string.
pub fn escape(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| ['\\'].into_iter().filter(move |_| matches!(c, '"' | '\\')).chain([c]))
        .collect()
}

/// What a role does with a request.
pub type Handler = Rc<dyn Fn(HttpRequest) -> Answer<'static, HttpResponse>>;

/// A request on its way to the worker that answers it.
pub struct Call {
    request: HttpRequest,
    answer: oneshot::Sender<HttpResponse>,
}

/// The HTTP service. Requests go through `calls` to [`serve`].
pub fn router(calls: mpsc::Sender<Call>) -> Router {
    Router::new().fallback(move |request: axum::extract::Request| {
        let calls = calls.clone();
        async move { into_axum(ask(calls, request).await) }
    })
}

/// Answers what comes through the channel, each request in a task of its own on this thread. Ends with the router.
pub async fn serve(handler: Handler, spawn: Rc<dyn Fn(Task)>, mut calls: mpsc::Receiver<Call>) {
    while let Some(Call { request, answer }) = calls.recv().await {
        let handler = handler.clone();
        spawn(Box::pin(async move {
            // The other end is gone if the client hung up: then nobody wants the answer.
            let _ = answer.send(handler(request).await);
        }));
    }
}

async fn ask(calls: mpsc::Sender<Call>, request: axum::extract::Request) -> HttpResponse {
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return HttpResponse::plain(413).with("connection", "close");
    }
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body.to_vec(),
        Ok(Err(_)) => return HttpResponse::plain(413).with("connection", "close"),
        Err(_) => return HttpResponse::plain(408).with("connection", "close"),
    };
    let text = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
    let request = HttpRequest {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_string(),
        host: text(&parts.headers, header::HOST),
        authorization: text(&parts.headers, header::AUTHORIZATION),
        user_agent: text(&parts.headers, header::USER_AGENT),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body,
    };
    let (answer, answered) = oneshot::channel();
    if calls.try_send(Call { request, answer }).is_err() {
        return HttpResponse::plain(503).with("retry-after", "1");
    }
    answered.await.unwrap_or_else(|_| HttpResponse::plain(503))
}

fn into_axum(response: HttpResponse) -> axum::response::Response {
    let mut out = axum::response::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        out = out.header(*name, value);
    }
    out.body(Body::from(response.body)).unwrap_or_else(|_| {
        let mut failed = axum::response::Response::new(Body::empty());
        *failed.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}
