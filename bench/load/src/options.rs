//! What the command line says.

use std::str::FromStr;

use crate::address::Target;

/// What to be.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    Drive,
    Serve,
}

/// The command line.
pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) target: Target,
    pub(crate) connections: usize,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages of a request.
    pub(crate) depth: usize,
    /// The path of GET requests, in place of an echo.
    pub(crate) http: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    pub(crate) server: Option<u32>,
    pub(crate) core: Option<usize>,
    pub(crate) certificate: Option<String>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut words = arguments.iter();
        let command = match words.next().map(String::as_str) {
            Some("drive") => Command::Drive,
            Some("serve") => Command::Serve,
            other => return Err(format!("{}: expected drive or serve; see --help", other.unwrap_or("nothing"))),
        };
        let target = words.next().ok_or("a target is missing; see --help")?.parse()?;
        let mut options = Self {
            command,
            target,
            connections: 10,
            size: 1024,
            depth: 1,
            http: None,
            seconds: 1.0,
            warm_up: 0.2,
            server: None,
            core: None,
            certificate: None,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name}: a value is missing"))?;
            match name.as_str() {
                "--connections" => options.connections = number(name, value)?,
                "--size" => options.size = number(name, value)?,
                "--depth" => options.depth = number(name, value)?,
                "--http" => options.http = Some(value.clone()),
                "--seconds" => options.seconds = number(name, value)?,
                "--warm-up" => options.warm_up = number(name, value)?,
                "--server-pid" => options.server = Some(number(name, value)?),
                "--core" => options.core = Some(number(name, value)?),
                "--certificate" => options.certificate = Some(value.clone()),
                _ => return Err(format!("{name}: no such option; see --help")),
            }
        }
        if options.connections == 0 || options.size == 0 || options.depth == 0 {
            return Err("--connections, --size and --depth: at least 1".to_owned());
        }
        Ok(options)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} {value}: expected a number"))
}
