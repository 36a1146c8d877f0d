//! The client: a closed loop over each connection.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use serde_json::json;

use crate::latencies::Latencies;
use crate::options::Options;
use crate::peer::Peer;
use crate::{accounting, clock};

/// Bytes that one read takes.
const BUFFER: usize = 1 << 20;

/// After so much silence a datagram is taken for lost, and sent again.
const LOST: Duration = Duration::from_millis(100);

/// A connection and its request.
struct Lane {
    peer: Peer,
    /// Bytes of the request that are not sent yet.
    unsent: usize,
    /// Bytes of the answer that are still to come.
    missing: usize,
    since: Instant,
}

/// What is counted while it is measured.
struct Counts {
    requests: u64,
    lost: u64,
    latencies: Latencies,
}

/// Runs the client, and prints what it measured as one line of JSON.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if let Some(core) = options.core {
        accounting::stay_on(core)?;
    }
    let (request, answer) = request(options)?;
    let mut buffer = vec![0; BUFFER];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut lanes = Vec::new();
    for number in 0..options.connections {
        let peer = Peer::connect(&options.target).map_err(|error| format!("connection {number}: {error}"))?;
        epoll::add(&poll, &peer, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)
            .map_err(|error| error.to_string())?;
        lanes.push(Lane { peer, unsent: 0, missing: 0, since: clock::now() });
    }
    for lane in &mut lanes {
        lane.ask(&request, answer)?;
    }
    let mut driver = Driver { poll, lanes, request, answer, is_datagram: is_datagram(options) };
    driver.work(Duration::from_secs_f64(options.warm_up), &mut buffer)?;
    let cpu = options.server.map(accounting::cpu_of).transpose()?;
    let began = clock::now();
    let counts = driver.work(Duration::from_secs_f64(options.seconds), &mut buffer)?;
    let seconds = (clock::now() - began).as_secs_f64();
    let used = options.server.map(accounting::cpu_of).transpose()?.zip(cpu).map(|(now, before)| now - before);
    let latencies = &counts.latencies;
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    let report = json!({
        "messages": counts.requests * options.depth as u64,
        "requests": counts.requests,
        "lost": counts.lost,
        "seconds": seconds,
        "server_cpu_nanoseconds": used,
        "latency_us": {
            "p50": microseconds(latencies.quantile(0.5)),
            "p99": microseconds(latencies.quantile(0.99)),
            "max": microseconds(latencies.largest()),
        },
    });
    println!("{report}");
    Ok(())
}

fn is_datagram(options: &Options) -> bool {
    matches!(options.target, crate::address::Target::Udp(_))
}

/// The bytes of a request, and how many its answer has.
fn request(options: &Options) -> Result<(Vec<u8>, usize), String> {
    let Some(path) = &options.http else {
        let request = vec![b'x'; options.size * options.depth];
        let answer = request.len();
        return Ok((request, answer));
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes();
    let answer = length_of_answer(options, &request)?;
    Ok((request.repeat(options.depth), answer * options.depth))
}

/// Asks once, and measures the answer, which is always as long.
fn length_of_answer(options: &Options, request: &[u8]) -> Result<usize, String> {
    let mut peer = Peer::connect(&options.target).map_err(|error| format!("the first request: {error}"))?;
    peer.send(request).map_err(|error| format!("the first request: {error}"))?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let began = clock::now();
    while clock::now() - began < Duration::from_secs(5) {
        if let Some(count) = peer.receive(&mut buffer).map_err(|error| format!("the first answer: {error}"))? {
            answer.extend_from_slice(&buffer[..count]);
        }
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            if !head.starts_with("HTTP/1.1 200") {
                return Err(format!("the first answer is no 200: {head:?}"));
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let length = length.ok_or_else(|| format!("the first answer has no Content-Length: {head:?}"))?;
            if body.len() >= length {
                return Ok(head.len() + 4 + length);
            }
        }
    }
    Err("no whole answer to the first request within 5 s".to_owned())
}

impl Lane {
    /// Begins the next request.
    fn ask(&mut self, request: &[u8], answer: usize) -> Result<(), String> {
        self.since = clock::now();
        self.unsent = request.len();
        self.missing = answer;
        self.send(request)
    }

    fn send(&mut self, request: &[u8]) -> Result<(), String> {
        while self.unsent > 0 {
            let rest = &request[request.len() - self.unsent..];
            match self.peer.send(rest).map_err(|error| format!("sending: {error}"))? {
                Some(count) => self.unsent -= count,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes what has come. Whether the answer is whole.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool, String> {
        // TLS may hold bytes that the kernel does not know of, so it is asked until there is nothing.
        while self.missing > 0 {
            let Some(count) = self.peer.receive(buffer).map_err(|error| format!("receiving: {error}"))? else {
                return Ok(false);
            };
            self.missing = self.missing.checked_sub(count).ok_or("the answer is longer than the first one was")?;
        }
        Ok(true)
    }
}

/// All connections.
struct Driver {
    poll: OwnedFd,
    lanes: Vec<Lane>,
    request: Vec<u8>,
    answer: usize,
    is_datagram: bool,
}

impl Driver {
    /// Drives the connections for a time. What it counted.
    fn work(&mut self, time: Duration, buffer: &mut [u8]) -> Result<Counts, String> {
        let mut counts = Counts { requests: 0, lost: 0, latencies: Latencies::new() };
        let mut events = [MaybeUninit::uninit(); 256];
        let end = clock::now() + time;
        let mut checked = clock::now();
        loop {
            let (ready, _) = epoll::wait(&self.poll, &mut events[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
                .map_err(|error| error.to_string())?;
            for event in ready {
                let lane = &mut self.lanes[event.data.u64() as usize];
                if lane.receive(buffer)? {
                    counts.requests += 1;
                    counts.latencies.add((clock::now() - lane.since).as_nanos() as u64);
                    lane.ask(&self.request, self.answer)?;
                }
            }
            let now = clock::now();
            if now >= end {
                return Ok(counts);
            }
            // What the kernel did not take at once is tried again: large messages only.
            if self.lanes.iter().any(|lane| lane.unsent > 0) {
                for lane in &mut self.lanes {
                    lane.send(&self.request)?;
                }
            }
            if self.is_datagram && now - checked > LOST {
                checked = now;
                counts.lost += self.ask_again(now)?;
            }
        }
    }

    /// Sends once more what had no answer for long. How many that were.
    fn ask_again(&mut self, now: Instant) -> Result<u64, String> {
        let mut lost = 0;
        for lane in &mut self.lanes {
            if now - lane.since > LOST {
                lost += 1;
                lane.ask(&self.request, self.answer)?;
            }
        }
        Ok(lost)
    }
}
