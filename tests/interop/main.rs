//! Foreign programs against running nodes: SIPp as a terminal, tshark as a reader of everything on the wire, Kamailio as
//! CSCF, python-diameter as HSS, BSF and NAF, freeDiameter as a Diameter peer.
//!
//! A program that is not installed is reported as skipped; with `IMSCRIPT_FOREIGN=required` its absence is a failure.

#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod bootstrapping;
mod capture;
mod foreign;
mod freediameter;
mod kamailio;
mod python_diameter;
mod sipp;
mod tshark;
