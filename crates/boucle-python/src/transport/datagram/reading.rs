//! What arrives.
//!
//! A report of readiness takes up to [`MOST`] datagrams, where asyncio takes one and asks the kernel again. It stops as soon
//! as the socket is empty, reading fails, or the protocol has closed, paused or raised. So between two sockets that are
//! flooded the order of datagrams is not asyncio's, and what a datagram has scheduled may run after the next datagrams; of
//! one socket the order is the kernel's.
//!
//! To find the socket empty costs a system call, which a dialogue of one datagram at a time would pay each time. Where the
//! first look for more found nothing, the next [`CONTENT`] reports take one datagram each.

use std::net::SocketAddr;

use boucle_core::datagram;
use boucle_core::socket::Outcome;
use pyo3::intern;
use pyo3::prelude::*;

use super::address;
use super::writing::Failure;
use super::{DatagramTransport, fail};
use crate::addresses::Family;
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::raw::guard::value_of;
use crate::raw::{Owned, Result, This, bytes, vector};

/// The most datagrams that one report takes.
const MOST: usize = 16;

/// After a look for more that found nothing, so many reports take one datagram.
const CONTENT: u8 = 15;

/// The most bytes that the socket object receives.
const LARGEST: usize = 256 * 1024;

/// What an attempt to receive came to.
enum Received {
    Datagram(Owned, Owned),
    NotNow,
    Failed(Owned),
    Broken(Owned),
}

/// The descriptor is readable.
pub(super) fn ready(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, DatagramTransport>) -> Result<()> {
    let content = this.content.get();
    let most = if content > 0 { 1 } else { MOST };
    this.content.set(content.saturating_sub(1));
    for count in 0..most {
        // Asked again after each: a protocol may do anything in between.
        let Some(protocol) = this.ties.protocol().filter(|_| this.conn_lost.get() == 0 && this.ties.is_reading())
        else {
            return Ok(());
        };
        match receive(py, core, this)? {
            Received::Datagram(data, sender) => {
                drop(vector::method(py, &protocol, &imports::get(py).datagram_received, &[&data, &sender])?);
            }
            Received::NotNow => {
                if count == 1 {
                    this.content.set(CONTENT);
                }
                return Ok(());
            }
            Received::Failed(exception) => {
                return vector::method(py, &protocol, &imports::get(py).error_received, &[&exception]).map(drop);
            }
            Received::Broken(exception) => {
                return fail(py, this, &exception, "Fatal read error on datagram transport");
            }
        }
    }
    Ok(())
}

fn receive(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, DatagramTransport>) -> Result<Received> {
    if this.family.get() == Family::Other {
        return receive_by_object(py, this);
    }
    let mut data = None;
    let received = core.with_scratch(|scratch| {
        let received = datagram::receive_from(this.ties.fd(), scratch);
        if let Ok((Outcome::Done(count), _)) = received {
            data = Some(bytes::received(py, &scratch[..count]));
        }
        received
    });
    match received {
        Ok((Outcome::Done(_), sender)) => datagram(py, this, data, sender),
        Ok(_) => Ok(Received::NotNow),
        Err(error) => Ok(Received::Failed(value_of(py, to_py_err(&error)))),
    }
}

#[inline]
fn datagram(
    py: Python<'_>,
    this: This<'_, DatagramTransport>,
    data: Option<Result<Owned>>,
    sender: Option<SocketAddr>,
) -> Result<Received> {
    match data {
        Some(data) => Ok(Received::Datagram(data?, address::format(py, this, sender)?)),
        None => Ok(Received::NotNow),
    }
}

/// Through the socket object, which knows addresses of all kinds.
fn receive_by_object(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<Received> {
    let Some(sock) = this.ties.file() else { return Ok(Received::NotNow) };
    let received = sock.any(py).call_method1(intern!(py, "recvfrom"), (LARGEST,)).and_then(|pair| pair.extract());
    match received {
        Ok((data, sender)) => {
            let (data, sender): (Bound<'_, PyAny>, Bound<'_, PyAny>) = (data, sender);
            Ok(Received::Datagram(data.into(), sender.into()))
        }
        Err(error) => Ok(match Failure::of(py, error.into())? {
            Failure::NotNow => Received::NotNow,
            Failure::System(exception) => Received::Failed(exception),
            Failure::Other(exception) => Received::Broken(exception),
        }),
    }
}
