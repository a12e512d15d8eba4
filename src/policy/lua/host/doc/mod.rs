//! The host API for readers: stubs for editors and the reference page, all written from the table.
//!
//! `imscript doc` prints or writes them; the checked-in files are compared with them by a test.

mod emmylua;
mod luau;
mod markdown;
mod selene;

use super::table::{Function, When};

/// A file that is written from the table.
pub struct Page {
    /// Where it lies in the source tree.
    pub path: &'static str,
    pub text: String,
}

pub fn pages() -> [Page; 4] {
    [
        Page { path: "docs/host-api.md", text: markdown::text() },
        Page { path: "lua/types/imscript.d.luau", text: luau::text() },
        Page { path: "lua/types/imscript.lua", text: emmylua::text() },
        Page { path: "lua/types/imscript.yml", text: selene::text() },
    ]
}

const WRITTEN_BY: &str = "Written by `imscript doc --write .`; changes belong into src/policy/lua/host.";

/// What an editor shows beside a function.
fn said(function: &Function) -> String {
    let mut text = function.doc.to_owned();
    if function.when != When::Anywhere {
        text.push_str(&format!(" Only in {}.", function.when.as_str()));
    }
    if !function.errors.is_empty() {
        text.push_str(&format!(" Errors: {}", function.errors));
    }
    text
}
