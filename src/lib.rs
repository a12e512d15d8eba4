//! imscript: one SIP REGISTER, one AKA run, two registrations.
//!
//! An IMS application server (S-CSCF, BSF, HSS) that registers a smart-card terminal with the IMS and with a broadcast
//! server, steered by Lua policies. ARCHITECTURE.md tells where things are and who may import whom.
//!
//! * messages and keys: [`sip`], [`aka`], [`auth`], [`gba`]
//! * the IMS side: [`registrar`], [`hss`]; the broadcast side: [`broadcast`]
//! * deciding: [`policy`]; a node: [`config`], [`server`], [`observe`]; a terminal: [`terminal`]
//!
//! # Embed it
//!
//! A [`config::Config`] makes a [`server::Node`]: sockets, one thread per worker, policies. It runs until it is stopped or
//! dropped.
//!
//! ```
//! use imscript::config::Config;
//! use imscript::server::Node;
//! use std::path::Path;
//!
//! let data = std::env::temp_dir().join(format!("imscript-tour-{}", std::process::id()));
//! let text = format!("listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {data:?}\n");
//! let config = Config::parse(&text, Path::new("imscript.toml"))?;
//! let mut node = Node::builder(config).start()?;
//! println!("{}", node.ready_line()); // listening udp 127.0.0.1:49152 …
//! node.stop(std::time::Duration::from_secs(1));
//! # std::fs::remove_dir_all(data)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Subscribers come from the embedded HSS ([`hss::embedded`], an SQLite file) or from your own
//! ([`server::Builder::hss`]). `examples/embed.rs` is a whole program.
//!
//! # Extend it
//!
//! | with | how | good for |
//! |---|---|---|
//! | a policy or plugins in Lua | `policy`, `plugins` in the configuration | what changes while traffic runs |
//! | a plugin in Rust | [`server::Builder::plugin`], [`policy::Plugin`] | a member of the chain beside those in Lua |
//! | all stages in Rust | [`server::Builder::policy`], [`policy::Decide`] | a program that needs no script |
//! | the whole command line, with plugins | [`cli::main_with`] | an imscript of your own |
//!
//! A plugin answers the stages that it declares; `None` leaves the decision to the next in the chain, and in the end to
//! the stage's default:
//!
//! ```no_run
//! use imscript::config::Config;
//! use imscript::policy::verdict::{Register, Reject};
//! use imscript::policy::{Context, Plugin, Stage};
//! use imscript::server::Node;
//! use imscript::sip::Message;
//!
//! struct HomeOnly;
//!
//! impl Plugin for HomeOnly {
//!     fn name(&self) -> &str {
//!         "home-only"
//!     }
//!     fn stages(&self) -> &[Stage] {
//!         &[Stage::Register]
//!     }
//!     fn register(&self, _request: &Message<'_>, ctx: &Context<'_>) -> Option<Register> {
//!         ctx.visited_network.map(|_| Register::Reject(Reject::new(403, "No roaming")))
//!     }
//! }
//!
//! let node = Node::builder(Config::all_on_loopback()).plugin(|| HomeOnly).start()?;
//! # Ok::<(), imscript::server::StartError>(())
//! ```
//!
//! A policy in Lua can be asked without a node around it, which is what its tests do:
//!
//! ```
//! use imscript::policy::lua::{LuaPolicy, PolicySource};
//!
//! let text = "return { authorized = function(req, ctx) return ims.accept { expires = 600 } end }";
//! let policy = LuaPolicy::load(&PolicySource::new("my.lua", text))?;
//! assert!(policy.has(imscript::policy::Stage::Authorized));
//! # Ok::<(), imscript::policy::lua::PolicyError>(())
//! ```
//!
//! With the feature `rsip` a plugin gets a message as the types of that crate, see `sip::rsip`. `docs/` is the book:
//! policies, plugins, recipes, plugins in Rust.

pub mod aka;
pub mod answer;
pub mod auth;
pub mod broadcast;
pub mod cli;
pub mod clock;
pub mod config;
pub mod diameter;
pub mod few;
mod file;
pub mod gba;
pub mod harness;
pub mod hss;
pub mod http;
pub mod icscf;
pub mod identity;
pub mod metrics;
pub mod observe;
pub mod policy;
pub mod registrar;
pub mod server;
pub mod shelf;
pub mod sip;
pub mod store;
pub mod terminal;
pub mod xml;

/// The programs in the book.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust-plugins.md")]
struct Book;
