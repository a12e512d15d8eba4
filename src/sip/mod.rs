//! SIP messages (RFC 3261): zero-copy parser, lazy typed views, printer, framing (rank 0).

mod body;
mod check;
pub mod edit;
pub mod frame;
pub mod header;
mod index;
pub mod message;
mod octets;
pub mod print;
#[cfg(feature = "rsip")]
pub mod rsip;
mod scan;
// The fuzz target is made of the messages alone.
#[cfg(not(fuzzing))]
pub mod transaction;
#[cfg(not(fuzzing))]
pub mod transport;
pub mod uri;

pub use body::Part;
pub use edit::Edit;
pub use header::{AuthParams, CSeq, Contacts, HeaderError, HeaderName, MediaType, NameAddr, Params, Via};
pub use message::{Fault, Message, limits};
pub use print::{Line, RequestWriter, ResponseWriter, is_defined_method, reason_phrase};
pub use uri::{Host, SipUri, Uri};
