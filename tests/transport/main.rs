//! The transports over real loopback sockets: RFC 3261 §17 and §18 as a peer sees them.

mod outbound;
mod screen;
mod streams;
mod support;
mod tls;
mod udp;
