//! The web of a test: requests of plugins are kept and answered as told; nothing leaves.

use crate::answer::Answer;
use crate::http::{Fetch, HttpError, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests of one test that are kept.
const MAX_KEPT: usize = 10_000;

/// What a URL answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// No answer at all, for this reason.
    pub(super) fails: Option<String>,
}

#[derive(Default)]
struct Pages {
    answers: BTreeMap<String, Answers>,
    requests: Vec<Value>,
}

#[derive(Default)]
pub(super) struct Web(Mutex<Pages>);

impl Web {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A URL, or all that begins with it.
    pub(super) fn answers(&self, url: String, answers: Answers) {
        self.pages().answers.insert(url, answers);
    }

    /// The requests since the last time.
    pub(super) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.pages().requests)
    }
}

impl Fetch for Web {
    fn fetch(&self, request: Request) -> Answer<'static, Result<Response, HttpError>> {
        let url = format!("{}{}", request.url.origin(), request.url.target());
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let headers: BTreeMap<String, String> =
            request.headers().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect();
        let mut pages = self.pages();
        if pages.requests.len() < MAX_KEPT {
            let body = text(request.body_octets());
            pages.requests.push(json!({ "method": request.method(), "url": url, "headers": headers, "body": body }));
        }
        let found = pages.answers.iter().filter(|(known, _)| url.starts_with(known.as_str()));
        let answers = found.max_by_key(|(known, _)| known.len()).map(|(_, answers)| answers.clone());
        let failed = |why: String| HttpError::Connection { origin: request.url.origin().to_string(), why };
        Answer::now(match answers {
            None => Err(failed(format!("the test has no answer for it: t:http_answers({url:?}, {{ status = 200 }})"))),
            Some(Answers { fails: Some(why), .. }) => Err(failed(why)),
            Some(answers) => Ok(Response {
                status: answers.status,
                headers: answers.headers.into_iter().map(|(n, v)| (n.to_ascii_lowercase(), v.into_bytes())).collect(),
                body: answers.body,
            }),
        })
    }
}
