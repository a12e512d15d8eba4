//! The table of docs/sandbox.md.

use crate::background;
use crate::in_process;
use crate::script;

/// `cargo test --release --test hostile table -- --ignored --nocapture`, on a quiet machine.
#[test]
#[ignore = "a measurement"]
fn table() {
    println!("| script | what it tries | outcome | fastest, ms | slowest, ms |\n|---|---|---|---:|---:|");
    for script in script::of_stages() {
        println!("{}", in_process::row(&script, &in_process::run(&script)));
    }
    for script in script::of_background() {
        println!("{}", background::row(&script, &background::run(&script)));
    }
    for script in script::of_loading() {
        println!("{}", in_process::loading_row(&script));
    }
}
