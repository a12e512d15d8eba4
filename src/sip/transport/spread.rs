//! Which worker's socket gets a datagram: decided in the kernel, by what it says.
//!
//! The kernel spreads over the sockets of one address (SO_REUSEPORT) by the sender's address. Nearly all that an S-CSCF
//! hears comes from a handful of P-CSCFs, often one, and would lie on one worker. A classic BPF program in the kernel hashes
//! the first octets instead, in which the top Via and its branch stand: transactions go to all workers, and
//! a retransmission, which repeats the octets (RFC 3261 §17.1.2.2), to the worker that has its transaction.

use nix::libc::{BPF_A, BPF_IMM, sock_filter, sock_fprog};
use nix::libc::{
    BPF_ABS, BPF_ALU, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR,
};
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::AsFd;

/// Octets that count. A shorter datagram is no request with a branch worth the name, and goes to the first worker.
const COUNTED: u32 = 256;

/// Odd, and with its bits all over the word.
const FACTOR: u32 = 0x9e37_79b1;

/// Has the kernel spread what comes in for `workers` sockets of one address; one of them stands for all.
pub(super) fn by_content(socket: &impl AsFd, workers: usize) -> io::Result<()> {
    let mut program = program(u32::try_from(workers).unwrap_or(u32::MAX));
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    setsockopt(socket, sockopt::AttachReusePortCbpf, &program).map_err(io::Error::from)
}

/// In words: A = 0; for each four octets A = (A ^ those) * FACTOR; the answer is the upper half of A, modulo the workers.
/// A load beyond the datagram's end ends the program with 0.
fn program(workers: u32) -> Vec<sock_filter> {
    let step = |code: u32, k: u32| sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: 0, jf: 0, k };
    let mut steps = vec![step(BPF_LD | BPF_IMM, 0)];
    for at in (0..COUNTED).step_by(4) {
        steps.push(step(BPF_MISC | BPF_TAX, 0));
        steps.push(step(BPF_LD | BPF_W | BPF_ABS, at));
        steps.push(step(BPF_ALU | BPF_XOR | BPF_X, 0));
        steps.push(step(BPF_ALU | BPF_MUL | BPF_K, FACTOR));
    }
    steps.push(step(BPF_ALU | BPF_RSH | BPF_K, 16));
    steps.push(step(BPF_ALU | BPF_MOD | BPF_K, workers.max(1)));
    steps.push(step(BPF_RET | BPF_A, 0));
    steps
}

#[cfg(test)]
mod tests {
    use crate::sip::transport::{Listen, Tls, bind};
    use std::io::ErrorKind;
    use std::net::UdpSocket;

    #[test]
    fn one_sender_reaches_all_workers_and_repeats_itself_to_one() {
        let listen: Listen = "udp:127.0.0.1:0".parse().unwrap();
        let (sockets, bound) = bind(&[listen], 4, &Tls::default()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut reached = [0; 4];
        for n in 0..200 {
            let request = format!(
                "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{n};rport\r\n\
                 Max-Forwards: 70\r\n{}",
                "x".repeat(300)
            );
            let mut workers = Vec::new();
            for _ in 0..3 {
                sender.send_to(request.as_bytes(), bound[0].addr).unwrap();
                let mut buffer = [0; 1000];
                let got = |socket: &UdpSocket| match socket.recv(&mut buffer) {
                    Ok(length) => Some(length),
                    Err(why) => {
                        assert_eq!(why.kind(), ErrorKind::WouldBlock);
                        None
                    }
                };
                let mut got = got;
                let at: Vec<usize> = (0..4).filter(|n| got(&sockets[*n].udp[0]).is_some()).collect();
                assert_eq!(at.len(), 1, "loopback delivers before it returns");
                workers.push(at[0]);
            }
            assert!(workers.iter().all(|worker| *worker == workers[0]), "{workers:?}");
            reached[workers[0]] += 1;
        }
        assert!(reached.iter().all(|count| *count > 20), "{reached:?}");
        // What is short is not lost.
        sender.send_to(b"\r\n\r\n", bound[0].addr).unwrap();
        assert_eq!(sockets[0].udp[0].recv(&mut [0; 10]).unwrap(), 4);
    }
}
