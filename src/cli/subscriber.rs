//! `imscript subscriber`: the embedded HSS's subscribers, provisioned while a node runs or not.

mod place;
mod reseal;
mod secret;
mod show;

use crate::clock::{Clock, Now};
use crate::hss::embedded::Subscriber;
use crate::hss::embedded::field::Fields;
use crate::hss::embedded::import::{Import, ImportError};
use crate::identity::Impi;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use place::Place;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Bad lines of an import file that are printed.
const BAD_LINES_SHOWN: usize = 20;

/// Subscribers of the embedded HSS. A node that runs on the same store takes changes up by itself.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript subscriber import subscribers.csv
  imscript subscriber show user1_private@home1.net
  imscript subscriber list --registered --data-dir /var/lib/imscript
  imscript subscriber import subscribers.csv --config /etc/imscript/imscript.toml")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Add(Box<Add>),
    Import(ImportArgs),
    Show(show::Show),
    List(show::List),
    Remove(Remove),
    Reseal(reseal::Reseal),
}

/// Add one subscriber
///
/// K, OPc, OP and the password may also be read from a file (@FILE) or from standard input (-), so that they
/// do not appear in the list of processes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript subscriber add --impi user1_private@home1.net --impu sip:user1@home1.net --impu tel:+12015550123 \\
      --k @user1.k --opc @user1.opc --broadcast yes
  imscript subscriber add --impi u2@home1.net --impu sip:u2@home1.net --algorithm digest --password - < u2.password")]
struct Add {
    /// Private identity, user@realm
    #[arg(long)]
    impi: String,
    /// Public identity, a sip:, sips: or tel: URI; may be repeated, the default one first
    #[arg(long, required = true)]
    impu: Vec<String>,
    /// milenage, tuak or digest
    #[arg(long, default_value = "milenage")]
    algorithm: String,
    /// Subscriber key K: 32 hex digits, for TUAK 32 or 64
    #[arg(long, value_name = "HEX|@FILE|-")]
    k: Option<String>,
    /// OPc, 32 hex digits; for TUAK TOPc, 64
    #[arg(long, visible_alias = "topc", value_name = "HEX|@FILE|-", conflicts_with = "op")]
    opc: Option<String>,
    /// OP, 32 hex digits; for TUAK TOP, 64. Only OPc is stored
    #[arg(long, visible_alias = "top", value_name = "HEX|@FILE|-")]
    op: Option<String>,
    /// Highest SQN that the card has accepted, 12 hex digits [default: 000000000000, a fresh card]
    #[arg(long, value_name = "HEX")]
    sqn: Option<String>,
    /// Authentication management field, 4 hex digits [default: 0000]
    #[arg(long, value_name = "HEX")]
    amf: Option<String>,
    /// Password of algorithm digest
    #[arg(long, value_name = "TEXT|@FILE|-")]
    password: Option<String>,
    /// Broadcast subscription: yes, no, or service ids separated by commas
    #[arg(long, value_name = "yes|no|ID,ID", default_value = "no")]
    broadcast: String,
    /// Service profile of the configuration that foreign nodes are told over Diameter
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Replace the subscriber if it exists; its states stay, and its SQN while the keys stay
    #[arg(long)]
    replace: bool,
}

/// Import subscribers from a CSV file, all or none
///
/// The whole file is checked before anything is stored. If the program is ended while it stores, a part of the file is
/// there, each subscriber of it whole; the same command with --replace completes it.
///
/// The header line names the columns, in any order: impi,impu,algorithm,k,opc,op,sqn,amf,password,broadcast,
/// service. Several impus are separated by spaces. algorithm: milenage, tuak, digest. Either opc or op; for TUAK TOPc or TOP.
/// sqn: 12 hex digits, the highest that the card has accepted; empty for a fresh card. broadcast: yes, no, or service
/// ids separated by spaces or ";".
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript subscriber import subscribers.csv

with lines such as
  impi,impu,algorithm,k,opc,password,broadcast
  u1@h.net,sip:u1@h.net tel:+1201,milenage,<32 hex>,<32 hex>,,svc1 svc2
  u2@h.net,sip:u2@h.net,digest,,,secret,no")]
struct ImportArgs {
    file: PathBuf,
    /// Replace subscribers that exist; their states stay, and their SQN while the keys stay
    #[arg(long)]
    replace: bool,
}

/// Remove one subscriber with its keys and states
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript subscriber remove user1_private@home1.net")]
struct Remove {
    impi: String,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = &args.place;
    match args.verb {
        Verb::Add(add) => add.run(place)?,
        Verb::Import(import) => import.run(place)?,
        Verb::Show(show) => show.run(place)?,
        Verb::List(list) => list.run(place)?,
        Verb::Reseal(reseal) => reseal.run(place)?,
        Verb::Remove(Remove { impi }) => {
            if !place.existing()?.remove(&Impi::from(&*impi), now())? {
                bail!("no subscriber {impi}");
            }
            println!("removed {impi}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn now() -> Now {
    Clock::new().now()
}

impl Add {
    fn run(&self, place: &Place) -> anyhow::Result<()> {
        let subscriber = self.subscriber()?;
        let store = place.open()?;
        let subscribers = std::slice::from_ref(&subscriber);
        if let Some((_, conflict)) = store.provision(subscribers, now(), self.replace, &mut |_| {})?.pop() {
            bail!("{conflict}{}", if self.replace { "" } else { " (--replace replaces a subscriber)" });
        }
        println!("{} {}", if self.replace { "stored" } else { "added" }, subscriber.impi);
        Ok(())
    }

    fn subscriber(&self) -> anyhow::Result<Subscriber> {
        let mut stdin = secret::Stdin::default();
        let mut read = |option, value: &Option<String>| secret::read(option, value.as_deref(), &mut stdin);
        let [k, opc, op] = [read("--k", &self.k)?, read("--opc", &self.opc)?, read("--op", &self.op)?];
        let password = read("--password", &self.password)?;
        let fields = Fields {
            impi: &self.impi,
            impu: &self.impu.join(" "),
            algorithm: &self.algorithm,
            k: &k,
            opc: &opc,
            op: &op,
            sqn: self.sqn.as_deref().unwrap_or_default(),
            amf: self.amf.as_deref().unwrap_or_default(),
            password: &password,
            broadcast: &self.broadcast,
            service: &self.service,
        };
        fields.subscriber().map_err(|error| anyhow::anyhow!("--{error}"))
    }
}

impl ImportArgs {
    fn run(&self, place: &Place) -> anyhow::Result<()> {
        let name = self.file.display();
        let started = Instant::now();
        let file = File::open(&self.file).with_context(|| name.to_string())?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let bar = ProgressBar::new(bytes).with_style(style("reading {bar:40} {percent}%")?);
        let import = Import::read(bar.wrap_read(BufReader::new(file)));
        bar.finish_and_clear();
        let import = import.map_err(|error| self.refusal(error))?;

        let store = place.open()?;
        let total = import.len();
        let bar = ProgressBar::new(total as u64).with_style(style("storing {bar:40} {pos}/{len} {eta}")?);
        let mut progress = |done| {
            if done % 1000 == 0 {
                bar.set_position(done as u64);
            }
        };
        let stored = import.store(&store, now(), self.replace, &mut progress);
        bar.finish_and_clear();
        stored.map_err(|error| self.refusal(error))?;
        println!("imported {total} subscribers from {name} in {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Prints the bad lines, each with the name of the file.
    fn refusal(&self, error: ImportError) -> anyhow::Error {
        let name = self.file.display();
        let ImportError::Bad(lines) = error else { return anyhow::Error::new(error).context(name.to_string()) };
        for line in lines.iter().take(BAD_LINES_SHOWN) {
            eprintln!("{name}:{line}");
        }
        if lines.len() > BAD_LINES_SHOWN {
            eprintln!("{name}: and {} more", lines.len() - BAD_LINES_SHOWN);
        }
        let count = if lines.len() == 1 { "1 bad line".to_owned() } else { format!("{} bad lines", lines.len()) };
        anyhow::anyhow!("{name}: {count}, nothing of the file was taken")
    }
}

fn style(template: &str) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?)
}
