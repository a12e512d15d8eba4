//! The least that a server over UDP costs: a thread that receives a datagram and sends it back, with two system calls and
//! nothing else. `benches/versus-kamailio/run` holds the servers against it.
//!
//!     cargo run --example echo -- 127.0.0.1:5060 [THREADS]                the server
//!     cargo run --example echo -- load 127.0.0.1:5060 WINDOW SECONDS OCTETS    datagrams at it, so many outstanding; JSON

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Sockets that the datagrams come from, as terminals have theirs.
const SOCKETS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", address, window, seconds, octets] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            load(address.parse()?, window.parse()?, time, octets.parse()?)
        }
        [address] => serve(address.parse()?, 1),
        [address, threads] => serve(address.parse()?, threads.parse()?),
        _ => Err("an address; or load ADDRESS WINDOW SECONDS OCTETS".into()),
    }
}

/// Each thread with a socket of its own; the kernel spreads the clients over them.
fn serve(address: SocketAddr, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut running = Vec::new();
    for _ in 0..threads {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        running.push(std::thread::spawn(move || echo(&socket.into())));
    }
    running.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread died".into()))
}

fn echo(socket: &UdpSocket) {
    let mut datagram = vec![0; 65_536];
    while let Ok((length, client)) = socket.recv_from(&mut datagram) {
        let _ = socket.send_to(&datagram[..length], client); // UDP: the client sends again
    }
}

/// A thread a socket, each with its share of the window outstanding.
fn load(to: SocketAddr, window: usize, time: Duration, octets: usize) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let one = move || -> std::io::Result<u64> {
        let socket = UdpSocket::bind((to.ip(), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (sent, mut back) = (vec![b'x'; octets], vec![0; 65_536]);
        let (share, mut exchanges) = ((window / SOCKETS).max(1), 0);
        for _ in 0..share {
            socket.send(&sent)?;
        }
        while began.elapsed() < time {
            exchanges += u64::from(socket.recv(&mut back).is_ok()); // else it was lost: another takes its place
            socket.send(&sent)?;
        }
        Ok(exchanges)
    };
    let threads: Vec<_> = (0..SOCKETS).map(|_| std::thread::spawn(one)).collect();
    let mut exchanges = 0;
    for thread in threads {
        exchanges += thread.join().map_err(|_| "a thread died")??;
    }
    println!("{{\"exchanges\": {exchanges}, \"seconds\": {:.3}}}", began.elapsed().as_secs_f64());
    Ok(())
}
