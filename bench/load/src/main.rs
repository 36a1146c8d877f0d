//! The other end of the benchmarks.
//!
//! * `boucle-load drive`: a client that is never the bottleneck. Each connection sends a request, waits until the whole
//!   answer is there, and sends the next one; the client asks the kernel without ever sleeping, on a core of its own.
//! * `boucle-load serve`: an echo server without an event loop of anybody's: what the kernel alone costs, the floor.
//!
//! [`drive`] reads the server's CPU time from the kernel's own accounting at the beginning and at the end of what it
//! measures. That figure does not depend on who is the bottleneck.

mod accounting;
mod address;
mod clock;
mod drive;
mod latencies;
mod options;
mod peer;
mod serve;

use std::process::ExitCode;

const HELP: &str = "\
boucle-load drive TARGET --connections N --size BYTES [options]   a closed loop of requests; prints JSON
boucle-load serve TARGET [--core N]                               an echo server: the floor; says `ready` when it listens

TARGET: tcp:HOST:PORT, unix:PATH, udp:HOST:PORT, tls:HOST:PORT (for serve: port 0 takes a free one, which it prints)

  --connections N   how many (default 10)
  --size BYTES      of a message (default 1024)
  --depth N         messages that a request holds (default 1)
  --http PATH       GET requests in place of an echo; --size does not count
  --seconds S       how long to measure (default 1)
  --warm-up S       before that (default 0.2)
  --server-pid PID  whose CPU time is measured, of all its threads
  --core N          the core to run on
  --certificate F   serve tls: a PEM file with key and certificate
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") || arguments.is_empty() {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match options::Options::parse(&arguments).and_then(|options| match options.command {
        options::Command::Drive => drive::run(&options),
        options::Command::Serve => serve::run(&options),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boucle-load: {error}");
            ExitCode::FAILURE
        }
    }
}
