//! The smallest balancer for SIP over UDP: each datagram of a client goes to the next node, so that the two REGISTERs of one
//! registration reach two nodes. To try nodes that share a store; `examples/cluster/run` does.
//!
//!     cargo run --example spread -- 127.0.0.1:5060 127.0.0.1:5071 127.0.0.1:5072 127.0.0.1:5073

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// Clients that are remembered; the next one begins anew.
const CLIENTS: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    let [here, nodes @ ..] = &addresses[..] else { return Err("where to listen, and the nodes".into()) };
    if nodes.is_empty() {
        return Err("which nodes?".into());
    }
    let front = Arc::new(UdpSocket::bind(here)?);
    println!("listening udp {}", front.local_addr()?);
    let (mut clients, mut turn, mut datagram) = (HashMap::<SocketAddr, Arc<UdpSocket>>::new(), 0, vec![0; 65_536]);
    loop {
        let (length, client) = front.recv_from(&mut datagram)?;
        if clients.len() >= CLIENTS {
            clients.clear(); // their threads end with their sockets' last answers
        }
        let back = match clients.get(&client) {
            Some(back) => back.clone(),
            None => {
                // One socket for each client: what comes to it is that client's.
                let back = Arc::new(UdpSocket::bind((here.ip(), 0))?);
                back.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
                let (from, to) = (back.clone(), front.clone());
                std::thread::spawn(move || answers(&from, &to, client));
                clients.insert(client, back.clone());
                back
            }
        };
        let node = nodes[turn % nodes.len()];
        turn += 1;
        println!("{client} -> {node}: {}", first_line(&datagram[..length]));
        let _ = back.send_to(&datagram[..length], node); // UDP: the client sends again
    }
}

/// Until nothing has come for a minute.
fn answers(from: &UdpSocket, to: &UdpSocket, client: SocketAddr) {
    let mut datagram = vec![0; 65_536];
    while let Ok((length, node)) = from.recv_from(&mut datagram) {
        println!("{client} <- {node}: {}", first_line(&datagram[..length]));
        let _ = to.send_to(&datagram[..length], client);
    }
}

fn first_line(datagram: &[u8]) -> String {
    String::from_utf8_lossy(datagram.split(|octet| *octet == b'\r').next().unwrap_or_default()).into_owned()
}
