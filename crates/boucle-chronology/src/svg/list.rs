//! What was found, in words below the lanes.

use super::markup::{self, Anchor, Markup};
use super::{MARGIN, style};
use crate::findings::{Finding, Line};

/// How far the lines below a title are to the right of it.
const INDENT: usize = 14;
const BETWEEN: usize = 12;
const TITLE: usize = 20;
const LINE: usize = 18;

/// The findings, in `room` pixels below `y`; returns where they end.
pub(super) fn draw(markup: &mut Markup, mut y: usize, room: usize, findings: &[Finding]) -> usize {
    for finding in findings {
        y += BETWEEN;
        let class = if finding.alarm { "name alarm" } else { "name" };
        for line in markup::wrapped(&finding.title, style::NAME, room) {
            y += TITLE;
            markup.text(class, MARGIN, y, Anchor::Start, &line);
        }
        for line in &finding.lines {
            let (class, font) = match line {
                Line::Code(_) => ("muted code", style::CODE),
                Line::Victim(_) => ("fact", style::FACTS),
                Line::Advice(_) => ("muted fact", style::FACTS),
            };
            for text in markup::wrapped(line.text(), font, room - INDENT) {
                y += LINE;
                markup.text(class, MARGIN + INDENT, y, Anchor::Start, &text);
            }
        }
    }
    y
}
