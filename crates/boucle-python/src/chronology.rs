//! `Recording` and `Chronology` for Python: begins and ends a recording, draws and converts a recorded run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use boucle_chronology::analysis::Analysis;
use boucle_chronology::{self as model, format, html, json, part, perfetto, svg, text};
use boucle_core::clock::Stamp;
use boucle_core::recorder::chronicle::{Start, chronicle};
use boucle_core::recorder::directory::View;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::settings;

/// A recording that goes on.
#[pyclass(module = "boucle._boucle", frozen)]
pub(crate) struct Recording(Start);

#[pymethods]
impl Recording {
    /// Begins now.
    #[new]
    fn new() -> PyResult<Self> {
        if !settings::recording() {
            return Err(PyValueError::new_err(
                "the recorder is off, since BOUCLE_RECORD=0 was set when boucle was imported: unset it to record",
            ));
        }
        Ok(Self(Start::now()))
    }

    /// What ran since it began, in every thread. It goes on: a later call returns more.
    fn chronology(&self, py: Python<'_>, program: String) -> Chronology {
        let recorded_by = recorded_by(py);
        let end = Stamp::now();
        py.detach(|| Chronology(chronicle(&self.0, end, &mut View::own(), program, recorded_by)))
    }
}

/// What records here.
pub(crate) fn recorded_by(py: Python<'_>) -> String {
    let version = py.version_info();
    let (major, minor, patch) = (version.major, version.minor, version.patch);
    format!("boucle {}, CPython {major}.{minor}.{patch}", env!("CARGO_PKG_VERSION"))
}

/// A recorded run.
#[pyclass(module = "boucle._boucle", frozen)]
pub(crate) struct Chronology(pub(crate) model::Chronology);

impl Chronology {
    fn analysis(&self, threshold: f64) -> Analysis {
        Analysis::of(&self.0, (threshold * 1e9) as u64)
    }
}

#[pymethods]
impl Chronology {
    /// Reads a recording. `name` is that of its file, for the error.
    #[staticmethod]
    fn decode(py: Python<'_>, data: &[u8], name: &str) -> PyResult<Self> {
        py.detach(|| format::decode(data)).map(Self).map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
    }

    /// The run without the threads of these names.
    fn without_threads(&self, names: Vec<String>) -> Self {
        let refused: HashSet<String> = names.into_iter().collect();
        Self(part::of_threads(self.0.clone(), |thread| !refused.contains(&thread.name)))
    }

    /// The recording as bytes.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| format::encode(&self.0));
        PyBytes::new(py, &bytes)
    }

    /// The picture in text.
    fn text(&self, py: Python<'_>, threshold: f64, width: usize, colour: bool) -> String {
        py.detach(|| text::draw(&self.0, &self.analysis(threshold), &text::TextOptions { width, colour }))
    }

    /// The picture as SVG.
    fn svg(&self, py: Python<'_>, threshold: f64) -> String {
        py.detach(|| svg::draw(&self.0, &self.analysis(threshold), &svg::SvgOptions::default()))
    }

    /// Which lines of which files `html` shows where it has them: those around the places of starvations.
    fn source_lines(&self, py: Python<'_>, threshold: f64) -> BTreeMap<String, BTreeSet<u32>> {
        py.detach(|| html::lines(&self.0, &self.analysis(threshold)))
    }

    /// The picture as an HTML page. `sources` has lines of code by file and number.
    fn html(&self, py: Python<'_>, threshold: f64, sources: html::Sources) -> String {
        let options = html::HtmlOptions { sources, ..html::HtmlOptions::default() };
        py.detach(|| html::draw(&self.0, &self.analysis(threshold), &options))
    }

    /// The run as a Perfetto trace.
    fn perfetto<'py>(&self, py: Python<'py>, threshold: f64) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| perfetto::draw(&self.0, &self.analysis(threshold)));
        PyBytes::new(py, &bytes)
    }

    /// The analysis as JSON.
    fn json(&self, py: Python<'_>, threshold: f64) -> String {
        py.detach(|| json::analysis_json(&self.0, &self.analysis(threshold)))
    }

    /// What ran, as a person would name it.
    #[getter]
    fn program(&self) -> &str {
        &self.0.program
    }

    /// What recorded it.
    #[getter]
    fn recorded_by(&self) -> &str {
        &self.0.recorded_by
    }

    /// How long the recording lasted, in seconds.
    #[getter]
    fn duration(&self) -> f64 {
        seconds(self.0.duration)
    }

    /// How many steps the ring had overwritten.
    #[getter]
    fn lost(&self) -> u64 {
        self.0.lost
    }

    /// The steps, each `(task, name, function, thread, start, duration, waited, resumed, awaited, returned)`: whether it
    /// is a task's, times in seconds, places as `(file, line)` or `None`.
    fn steps(&self) -> Vec<StepRow> {
        let place = |id: model::PlaceId| {
            let place = &self.0.places[id.index()];
            (place.file.clone(), place.line)
        };
        self.0
            .steps
            .iter()
            .map(|step| {
                let actor = &self.0.actors[step.actor.index()];
                let awaited = if let model::Left::Awaited(id) = step.left { Some(place(id)) } else { None };
                StepRow {
                    is_task: actor.kind == model::ActorKind::Task,
                    name: actor.name.clone(),
                    function: actor.function.clone(),
                    thread: self.0.threads[step.thread.index()].name.clone(),
                    start: seconds(step.start),
                    duration: seconds(step.duration),
                    waited: seconds(step.waited),
                    resumed: step.resumed.map(place),
                    awaited,
                    returned: step.left == model::Left::Returned,
                }
            })
            .collect()
    }
}

/// A step as Python sees it: becomes a dict.
#[derive(IntoPyObject)]
pub(crate) struct StepRow {
    is_task: bool,
    name: String,
    function: String,
    thread: String,
    start: f64,
    duration: f64,
    waited: f64,
    resumed: Option<(String, u32)>,
    awaited: Option<(String, u32)>,
    returned: bool,
}

fn seconds(nanos: model::Nanos) -> f64 {
    nanos as f64 * 1e-9
}
