//! The command `imscript`.

fn main() -> std::process::ExitCode {
    imscript::cli::main()
}
