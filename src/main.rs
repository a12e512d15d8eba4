fn main() -> std::process::ExitCode {
    imscript::cli::main()
}
