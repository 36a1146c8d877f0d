//! One connection, plain or over TLS, that never blocks.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::address::Target;

/// A connection.
pub(crate) enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
    #[cfg(feature = "tls")]
    Tls(Box<openssl::ssl::SslStream<TcpStream>>),
}

impl Peer {
    /// Connects; only what follows does not block.
    pub(crate) fn connect(target: &Target) -> io::Result<Self> {
        let peer = match target {
            Target::Tcp(address) => Self::Tcp(stream(TcpStream::connect(address)?)?),
            Target::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            Target::Udp(address) => {
                let socket = UdpSocket::bind(("127.0.0.1", 0))?;
                socket.connect(address)?;
                Self::Udp(socket)
            }
            Target::Tls(address) => tls(stream(TcpStream::connect(address)?)?)?,
        };
        peer.stop_blocking()?;
        Ok(peer)
    }

    fn stop_blocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
            Self::Udp(socket) => socket.set_nonblocking(true),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().set_nonblocking(true),
        }
    }

    /// Receives what is there: nothing where it is nothing yet.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Udp(socket) => return not_yet(socket.recv(buffer)),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        };
        match not_yet(received)? {
            Some(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side has closed the connection")),
            other => Ok(other),
        }
    }

    /// Sends what the kernel takes: nothing where it takes nothing now.
    pub(crate) fn send(&mut self, data: &[u8]) -> io::Result<Option<usize>> {
        not_yet(match self {
            Self::Tcp(stream) => stream.write(data),
            Self::Unix(stream) => stream.write(data),
            Self::Udp(socket) => socket.send(data),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(data),
        })
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().as_fd(),
        }
    }
}

fn stream(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn not_yet(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(feature = "tls")]
fn tls(stream: TcpStream) -> io::Result<Peer> {
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    // The server is on this machine, with a certificate that it made for itself.
    builder.set_verify(SslVerifyMode::NONE);
    let mut configuration = builder.build().configure()?;
    configuration.set_verify_hostname(false);
    configuration.connect("localhost", stream).map(|stream| Peer::Tls(Box::new(stream))).map_err(io::Error::other)
}

#[cfg(not(feature = "tls"))]
fn tls(_: TcpStream) -> io::Result<Peer> {
    Err(io::Error::other("built without TLS: needs the headers of OpenSSL, and --features tls"))
}
