//! Samples as bytes, each against the sample before it.

use super::error::{DecodeError, Problem, id};
use super::reader::Reader;
use super::writer::Writer;
use crate::model::{Cause, Chronology, PlaceId, Sample, Step, StepId};

/// A step, a time, a cause, a detail and the length of a stack: no sample has less.
const SMALLEST: usize = 5;

/// Writes all samples, without their count.
pub(super) fn write<'a>(writer: &mut Writer<'a>, chronology: &'a Chronology) {
    let mut before: Option<&Sample> = None;
    for sample in &chronology.samples {
        let step = before.map_or(0, |before| before.step.0);
        writer.number(u64::from(sample.step.0.wrapping_sub(step)));
        let same_step = before.filter(|before| before.step == sample.step);
        let start = chronology.steps.get(sample.step.index()).map_or(0, |step| step.start);
        writer.number(sample.at.wrapping_sub(same_step.map_or(start, |before| before.at)));
        writer.bytes(&[sample.cause as u8]);
        writer.string(&sample.detail);
        writer.number(sample.stack.len() as u64);
        for place in &sample.stack {
            writer.number(u64::from(place.0));
        }
        before = Some(sample);
    }
}

/// Reads the count of samples and all samples. `chronology` has everything else already.
pub(super) fn read(reader: &mut Reader, chronology: &Chronology) -> Result<Vec<Sample>, DecodeError> {
    let count = reader.count("samples", SMALLEST)?;
    let mut samples: Vec<Sample> = Vec::with_capacity(count);
    for _ in 0..count {
        let sample = read_sample(reader, samples.last(), chronology)?;
        samples.push(sample);
    }
    Ok(samples)
}

fn read_sample(reader: &mut Reader, before: Option<&Sample>, chronology: &Chronology) -> Result<Sample, DecodeError> {
    let step = read_step(reader, before, chronology.steps.len())?;
    let same_step = before.filter(|before| before.step == step);
    let at = read_time(reader, same_step, &chronology.steps[step.index()])?;
    let cause_at = reader.offset();
    let found = reader.byte("the cause of a sample")?;
    let cause = Cause::WORDS.get(usize::from(found)).map(|(cause, _)| *cause);
    let cause = cause.ok_or_else(|| DecodeError::new(cause_at, Problem::Cause { found }))?;
    let detail = reader.string("the detail of a sample")?;
    let stack = reader.list("places", 1, |reader, _| {
        let at = reader.offset();
        let number = reader.number("the place of a sample")?;
        Ok(PlaceId(id(at, "the sample names place", number, chronology.places.len(), "places")?))
    })?;
    Ok(Sample { step, at, cause, detail, stack })
}

fn read_step(reader: &mut Reader, before: Option<&Sample>, steps: usize) -> Result<StepId, DecodeError> {
    let at = reader.offset();
    let difference = reader.number("the step of a sample")?;
    let step = u64::from(before.map_or(0, |before| before.step.0)).saturating_add(difference);
    Ok(StepId(id(at, "the sample is of step", step, steps, "steps")?))
}

fn read_time(reader: &mut Reader, same_step: Option<&Sample>, step: &Step) -> Result<u64, DecodeError> {
    let at = reader.offset();
    let difference = reader.number("the time of a sample")?;
    let time = same_step.map_or(step.start, |before| before.at).checked_add(difference);
    time.filter(|&time| time <= step.end()).ok_or_else(|| DecodeError::new(at, Problem::AfterItsStep))
}
