pub fn run(_: Args) -> anyhow::Result<std::process::ExitCode> {
    unimplemented!()
}
#[derive(clap::Args)]
pub struct Args {}
