//! docs/first-policy.md, run from top to bottom: files are written as it says, commands are run, and what it shows of
//! their output is looked for.

use super::*;

const PAGE: &str = include_str!("../../docs/first-policy.md");

/// A fenced block: its language, the file it is to be written to, its lines.
struct Block {
    kind: String,
    file: Option<String>,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                // `lua/policy/home.lua`: on the line above the block
                let file = before.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:")).map(str::to_owned);
                open = Some(Block { kind: kind.to_owned(), file, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        if !line.is_empty() {
            before = line;
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

#[test]
fn every_command_does_what_the_page_says() {
    let desk = Desk::new();
    let mut output = String::new();
    let mut commands = 0;
    for block in blocks(PAGE) {
        match block.kind.as_str() {
            "sh" => {
                output.clear();
                for line in block.text.lines().filter(|line| !line.starts_with('#')) {
                    let (command, code) = match line.split_once("  # exit code ") {
                        Some((command, code)) => (command, code.trim().parse().unwrap()),
                        None => (line, 0),
                    };
                    let words = shell_words(command);
                    assert_eq!(words[0], "imscript", "{line}");
                    let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
                    let said = imscript(desk.0.path(), &args, "");
                    assert_eq!(said.code, code, "{line}\n{}{}", said.out, said.err);
                    output.push_str(&said.out);
                    output.push_str(&said.err);
                    commands += 1;
                }
            }
            "text" => {
                for line in block.text.lines().filter(|line| !line.trim().is_empty() && *line != "…") {
                    assert!(output.contains(line.trim_end()), "no {line:?} in\n{output}");
                }
            }
            "console" => {} // what needs a network
            _ => {
                let file = block.file.unwrap_or_else(|| panic!("a block of no file: {}", block.text));
                desk.write(&file, block.text);
            }
        }
    }
    assert!(commands >= 10, "{commands}");
}

fn shell_words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate().flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    parts.collect()
}
