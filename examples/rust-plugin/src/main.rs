//! imscript with the guard compiled in: the same verbs and options, and `run` asks the guard.

use fraud_guard::{FraudGuard, Settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    let guard = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => FraudGuard::new(settings),
        Err(error) => {
            eprintln!("fraud-guard: {error}");
            return ExitCode::FAILURE;
        }
    };
    imscript::cli::main_with(|node| node.plugin(move || guard.clone()))
}
