//! The command `boucle-top`, which `boucle top` starts.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use boucle_chronology::{decode, json};
use boucle_top::options::{HELP, Target};
use boucle_top::theme::Theme;
use boucle_top::{Mode, Options, Replay, Source, SourceError, View, Watched, screen, terminal};

/// As far back as anything is known.
const ALL: Duration = Duration::from_hours(100_000);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            say(&format!("{complaint}; boucle top --help explains"));
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    match options.mode {
        Mode::Help => return Ok(print(HELP)?),
        Mode::Version => return Ok(print(&format!("boucle-top {}\n", env!("CARGO_PKG_VERSION")))?),
        Mode::Live | Mode::Once | Mode::Json => {}
    }
    let mut source = source(options)?;
    let mut view = View::new(options, Theme { colour: colour() });
    if options.mode != Mode::Json {
        view.remember(source.snapshot(ALL)?);
    }
    view.update(source.snapshot(options.window)?);
    match options.mode {
        Mode::Json => print(&format!("{}\n", json::analysis_json(&view.snapshot.chronology, &view.analysis)))?,
        Mode::Once => {
            let (width, height) = size();
            print(&screen::plain(&view, width, height))?;
        }
        _ => terminal::run(source.as_mut(), &mut view, options.interval)?,
    }
    Ok(())
}

fn source(options: &Options) -> Result<Box<dyn Source>, SourceError> {
    match &options.target {
        Target::Process(pid) => Ok(Box::new(Watched::open(*pid)?)),
        Target::Recording(path) => {
            let named = |problem: String| SourceError(format!("{}: {problem}", path.display()));
            let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
            let recording = decode(&bytes).map_err(|error| named(error.to_string()))?;
            Ok(Box::new(match options.mode {
                Mode::Live => Replay::from_now(recording, options.threshold),
                _ => Replay::at_its_end(recording, options.threshold),
            }))
        }
    }
}

/// The size of the printed screen: what the environment says, or the terminal's, or that of an old one.
fn size() -> (u16, u16) {
    let named = |name: &str| std::env::var(name).ok()?.parse::<u16>().ok().filter(|&size| size > 0);
    let (width, height) = ratatui::crossterm::terminal::size().ok().filter(|(width, _)| *width > 0).unwrap_or((80, 24));
    (named("COLUMNS").unwrap_or(width), named("LINES").unwrap_or(height))
}

/// Whether colours are wanted: see no-color.org.
fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR")
}

fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn say(text: &str) {
    // A stderr that is closed leaves nobody to be told.
    if let Err(error) = writeln!(io::stderr(), "boucle top: {text}") {
        drop(error);
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
