//! The command `imscript`.

/// What one worker makes another often frees, which costs glibc's allocator locks and scattered memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    imscript::cli::main()
}
