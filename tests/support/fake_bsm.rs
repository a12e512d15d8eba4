//! A broadcast server that keeps every octet it receives and answers as it is told. UDP and TCP on one address.

use super::wait_for;
use imscript::sip::{HeaderName, Message, ResponseWriter};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// 200, state registered.
    Registers,
    /// Receives and says nothing.
    Silent,
    /// This status.
    Answers(u16),
}

#[derive(Clone)]
pub struct FakeBsm {
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    conduct: Arc<Mutex<Conduct>>,
}

impl FakeBsm {
    pub fn bind(addr: SocketAddr, conduct: Conduct) -> FakeBsm {
        let fake = FakeBsm { addr, received: Arc::default(), conduct: Arc::new(Mutex::new(conduct)) };
        let udp = UdpSocket::bind(addr).unwrap();
        let tcp = TcpListener::bind(addr).unwrap();
        let me = fake.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = me.take(&buffer[..length], peer) {
                    udp.send_to(&answer, peer).unwrap();
                }
            }
        });
        let me = fake.clone();
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let me = me.clone();
                std::thread::spawn(move || me.connection(stream));
            }
        });
        fake
    }

    pub fn set(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }

    /// What has come after the first `known`.
    pub fn received_since(&self, known: usize) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().iter().skip(known).cloned().collect()
    }

    /// The `n`th request (from 0) for which `wanted` holds, once it has come.
    pub fn request(&self, n: usize, wanted: impl Fn(&Message<'_>) -> bool) -> Message<'static> {
        wait_for(|| {
            let received = self.received();
            let mut found = received.into_iter().filter_map(|octets| Message::parse_owned(octets).ok()).filter(&wanted);
            found.nth(n)
        })
    }

    fn connection(&self, mut stream: TcpStream) {
        let peer = stream.peer_addr().unwrap();
        let mut buffer = Vec::new();
        while let Some(message) = read_message(&mut stream, &mut buffer) {
            if let Some(answer) = self.take(&message, peer)
                && stream.write_all(&answer).is_err()
            {
                return;
            }
        }
    }

    fn take(&self, octets: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
        self.received.lock().unwrap().push(octets.to_vec());
        let request = Message::parse(octets).ok().filter(Message::is_request)?;
        let status = match *self.conduct.lock().unwrap() {
            Conduct::Registers => 200,
            Conduct::Silent => return None,
            Conduct::Answers(status) => status,
        };
        let mut answer = ResponseWriter::new(&request, status, peer, "fake");
        if status == 200 && request.method() == b"REGISTER" {
            answer.header(HeaderName::BcastExt, "state=registered");
        }
        Some(answer.finish())
    }
}

/// The next message of a stream; None at its end.
pub fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let whole = end + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if buffer.len() >= whole {
                return Some(buffer.drain(..whole).collect());
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(length) => buffer.extend_from_slice(&part[..length]),
        }
    }
}

/// Sends a request over UDP and gives back the first answer.
pub fn exchange_from(socket: &UdpSocket, request: &str, to: SocketAddr) -> Message<'static> {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(request.as_bytes(), to).unwrap();
    receive_from(socket)
}

/// What comes next at this socket.
pub fn receive_from(socket: &UdpSocket) -> Message<'static> {
    let mut buffer = vec![0; 65536];
    let (length, _) = socket.recv_from(&mut buffer).expect("an answer within a minute");
    Message::parse_owned(buffer[..length].to_vec()).unwrap()
}
