//! Embeds a node and answers one stage in Rust: a REGISTER that comes from outside the loopback network gets ten
//! minutes, anyone else what the terminal asked for. All other stages keep their defaults.
//!
//!     cargo run --example embed
//!     imscript subscriber add --data-dir embed-data --impi user1_private@home1.net --impu sip:user1@home1.net \
//!         --algorithm milenage --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf --broadcast yes
//!     imscript terminal register --server udp:127.0.0.1:5060 --impi user1_private@home1.net --impu sip:user1@home1.net \
//!         --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf --naf-id bsm.home1.net

use imscript::config::Config;
use imscript::policy::{Context, Decide, verdict};
use imscript::server::Node;
use imscript::sip::Message;
use std::path::PathBuf;
use std::time::Duration;

struct ShorterAbroad;

impl Decide for ShorterAbroad {
    fn authorized(&self, _request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        let abroad = !ctx.source.addr.ip().is_loopback();
        verdict::Authorized::Accept { expires: abroad.then_some(600) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config { data_dir: PathBuf::from("embed-data"), ..Config::all_on_loopback() };
    let mut node = Node::builder(config).policy(|| ShorterAbroad).start()?;
    println!("{}", node.ready_line());
    println!("press Enter to stop");
    std::io::stdin().read_line(&mut String::new())?;
    node.stop(Duration::from_secs(4));
    Ok(())
}
