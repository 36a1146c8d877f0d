//! The floor: an echo server with one thread and the kernel's interface, as small as it can be.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use rustix::event::epoll;

use crate::accounting;
use crate::address::Target;
use crate::options::Options;
use crate::peer::Peer;

/// Bytes that one read takes: as many as boucle's.
const BUFFER: usize = 256 * 1024;

/// The listener's number among the events.
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if let Some(core) = options.core {
        accounting::stay_on(core)?;
    }
    let text = |error: io::Error| error.to_string();
    match &options.target {
        Target::Udp(address) => datagrams(&UdpSocket::bind(address).map_err(text)?).map_err(text),
        Target::Tcp(address) => {
            let listener = TcpListener::bind(address).map_err(text)?;
            println!("ready {}", listener.local_addr().map_err(text)?.port());
            streams(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Peer::Tcp(stream))
            })
            .map_err(text)
        }
        Target::Unix(path) => {
            fs::remove_file(path).ok();
            let listener = UnixListener::bind(path).map_err(text)?;
            println!("ready");
            streams(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Peer::Unix(stream))
            })
            .map_err(text)
        }
        Target::Tls(address) => tls(options, &TcpListener::bind(address).map_err(text)?).map_err(text),
    }
}

/// Answers datagrams, one system call for each way.
fn datagrams(socket: &UdpSocket) -> io::Result<()> {
    println!("ready {}", socket.local_addr()?.port());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (count, sender) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..count], sender)?;
    }
}

/// A connection and what the kernel did not take yet.
struct Client {
    peer: Peer,
    unsent: Vec<u8>,
}

/// Answers on all connections.
fn streams(listener: impl AsFd, accept: impl Fn() -> io::Result<Peer>) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = [MaybeUninit::uninit(); 256];
    loop {
        let (ready, _) = epoll::wait(&poll, &mut events[..], None)?;
        for event in ready {
            let number = event.data.u64();
            if number == LISTENER {
                let peer = accept()?;
                let data = epoll::EventData::new_u64(clients.len() as u64);
                epoll::add(&poll, &peer, data, epoll::EventFlags::IN)?;
                clients.push(Some(Client { peer, unsent: Vec::new() }));
                continue;
            }
            let place = &mut clients[number as usize];
            let Some(client) = place else { continue };
            // One that went away is closed; a server would say why.
            match echo(client, &mut buffer) {
                Ok(waits) => {
                    let interest = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                    let flags = event.flags;
                    let writes = flags.contains(epoll::EventFlags::OUT);
                    if waits != writes {
                        epoll::modify(&poll, &client.peer, epoll::EventData::new_u64(number), interest)?;
                    }
                }
                Err(_) => *place = None,
            }
        }
    }
}

/// Sends back what has come. Whether something is left to send.
fn echo(client: &mut Client, buffer: &mut [u8]) -> io::Result<bool> {
    while !client.unsent.is_empty() {
        let Some(count) = client.peer.send(&client.unsent)? else { return Ok(true) };
        client.unsent.drain(..count);
    }
    while let Some(count) = client.peer.receive(buffer)? {
        let mut sent = 0;
        while sent < count {
            let Some(more) = client.peer.send(&buffer[sent..count])? else {
                client.unsent.extend_from_slice(&buffer[sent..count]);
                return Ok(true);
            };
            sent += more;
        }
        // A short read of a plain socket has emptied it; TLS may hold more.
        if count < buffer.len() && !matches!(client.peer, Peer::Tcp(_) | Peer::Unix(_)) {
            continue;
        }
        if count < buffer.len() {
            break;
        }
    }
    Ok(false)
}

#[cfg(feature = "tls")]
fn tls(options: &Options, listener: &TcpListener) -> io::Result<()> {
    use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
    let path = options.certificate.as_deref().ok_or_else(|| io::Error::other("serve tls: needs --certificate"))?;
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_private_key_file(path, SslFiletype::PEM)?;
    builder.set_certificate_chain_file(path)?;
    let acceptor = builder.build();
    println!("ready {}", listener.local_addr()?.port());
    streams(listener, || {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        // The handshake blocks: it is not what is measured.
        let stream = acceptor.accept(stream).map_err(io::Error::other)?;
        stream.get_ref().set_nonblocking(true)?;
        Ok(Peer::Tls(Box::new(stream)))
    })
}

#[cfg(not(feature = "tls"))]
fn tls(_: &Options, _: &TcpListener) -> io::Result<()> {
    Err(io::Error::other("built without TLS: needs the headers of OpenSSL, and --features tls"))
}
