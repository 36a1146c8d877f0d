//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use boucle_chronology::Nanos;

/// What `--help` prints.
pub const HELP: &str = "\
usage: boucle top [OPTIONS] PID
       boucle top [OPTIONS] --replay FILE

Shows what the event loop of another process does: its tasks, who holds the processor, who is ready and has to wait,
and each starvation as it happens. The process runs boucle and belongs to you; it need not cooperate and may be frozen.

options:
  --interval TIME   how often to look (default 250ms)
  --window TIME     how far back the table reaches (default 10s); less where there are very many steps
  --threshold TIME  a step longer than this starves the others (default 50ms)
  --once            print one screen as text and end
  --json            print the analysis of the last seconds as JSON and end
  --replay FILE     play a recording (boucle record -o FILE.boucle) instead; with --once or --json: as it was at its end
  -h, --help        print this
  --version         print the version

TIME is 50ms, 0.05s or 0.05. In the view, ? explains the keys. Without colours: NO_COLOR=1.
Exit status: 0 at the end of the view, 1 if the process cannot be watched, 2 for a wrong call.
";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Show the view until somebody quits.
    Live,
    /// Print one screen.
    Once,
    /// Print the analysis.
    Json,
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process, by its number.
    Process(u32),
    /// A recording.
    Recording(PathBuf),
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// What is watched.
    pub target: Target,
    /// How often to look.
    pub interval: Duration,
    /// How far back the table reaches.
    pub window: Duration,
    /// A longer step is a starvation.
    pub threshold: Nanos,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Live,
            target: Target::Process(0),
            interval: Duration::from_millis(250),
            window: Duration::from_secs(10),
            threshold: 50_000_000,
        }
    }
}

impl Options {
    /// Understands the arguments behind the command's name, or says in words why not.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut target = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (argument.clone(), None),
            };
            let mut value =
                || attached.clone().or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "-h" | "--help" => return Ok(Self { mode: Mode::Help, ..options }),
                "--version" => return Ok(Self { mode: Mode::Version, ..options }),
                "--once" => options.mode = Mode::Once,
                "--json" => options.mode = Mode::Json,
                "--interval" => options.interval = time(&value()?)?,
                "--window" => options.window = time(&value()?)?,
                "--threshold" => options.threshold = time(&value()?)?.as_nanos() as Nanos,
                "--replay" => set(&mut target, Target::Recording(value()?.into()))?,
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                pid => set(&mut target, Target::Process(number(pid)?))?,
            }
        }
        options.target = target.ok_or("the number of a process is missing")?;
        Ok(options)
    }
}

fn set(target: &mut Option<Target>, to: Target) -> Result<(), String> {
    match target.replace(to) {
        None => Ok(()),
        Some(_) => Err("only one process or recording can be watched".to_owned()),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=u32::MAX / 2).contains(number));
    number.ok_or_else(|| format!("{text:?} is not the number of a process"))
}

/// A time as people write it: `50ms`, `0.05s`, `0.05`.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0), ("", 1.0)];
    let number = units.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale));
    match number {
        Some(seconds) if (1e-6..1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is no time: write 50ms, 0.05s or 0.05")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_process_or_a_recording_is_watched() {
        let process = parse("--interval 1 42 --threshold=20ms").unwrap();
        assert_eq!(process.target, Target::Process(42));
        assert_eq!((process.interval, process.threshold), (Duration::from_secs(1), 20_000_000));
        let recording = parse("--replay run.boucle --once").unwrap();
        assert_eq!((recording.target, recording.mode), (Target::Recording("run.boucle".into()), Mode::Once));
        assert_eq!(parse("--help").unwrap().mode, Mode::Help);
    }

    #[test]
    fn a_wrong_call_is_told_in_words() {
        for (line, words) in [
            ("", "the number of a process is missing"),
            ("shop", "\"shop\" is not the number of a process"),
            ("0", "\"0\" is not the number of a process"),
            ("1 2", "only one process or recording can be watched"),
            ("--fast 1", "there is no option --fast"),
            ("1 --interval", "--interval needs a value"),
            ("1 --interval soon", "\"soon\" is no time: write 50ms, 0.05s or 0.05"),
            ("1 --window -3s", "\"-3s\" is no time: write 50ms, 0.05s or 0.05"),
        ] {
            assert_eq!(parse(line).unwrap_err(), words);
        }
    }
}
