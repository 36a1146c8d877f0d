/* The sentences of the page, in the same words as the headline and the other pictures (the crate's sentence.rs, label.rs
 * and svg/tooltip.rs). They return text; whoever shows it makes it the text of a node. */

const NAMED_MAX = 5;

/** `run1 held the processor for 1.00 s` */
function heldSentence(run, step) {
  return `${run.nameOf(step)} held the processor for ${precise(run.durationOf(step))}`;
}

/** `run2 was ready and waited 1.0 s for run1` */
function waitedSentence(run, culprit, victim, waited) {
  const another = run.actor[culprit] === run.actor[victim] ? "another " : "";
  return `${another}${run.nameOf(victim)} was ready and waited ${short(waited)} for ${run.nameOf(culprit)}`;
}

/** What is written on a wait, the longest text first: `waited 1.0 s for run1, and for 2 more`, `waited 1.0 s`, `1.0 s`. */
function waitLabels(run, step) {
  const [longest, ...others] = run.culpritsOf(step);
  const congested = run.congested.get(step);
  const waited = short(longest?.waited ?? congested ?? run.start[step] - run.since[step]);
  const labels = [`waited ${waited}`, waited];
  if (!longest) return congested ? [`waited ${waited} for many small steps`, ...labels] : labels;
  const more = others.length ? `, and for ${others.length} more` : "";
  return [`waited ${waited} for ${run.nameOf(longest.starvation.step)}${more}`, ...labels];
}

/** What a step ran, as lines: `12→14`, `14→end`; of a culprit also what it did: `28→34, sleep at 31`. */
function pieceLabel(run, step) {
  const line = (place) => (place === NONE ? "" : run.place(place).line || "");
  const from = line(run.resumed(step));
  const to = run.returned(step) ? "end" : line(run.awaited(step));
  const starvation = run.starvationBy(step);
  const seen = starvation ? seenLabel(run, starvation) : "";
  return [from || to ? `${from}→${to}` : "", seen].filter(Boolean).join(", ");
}

/** The same in full: `pieces.py:12 → 14 in pieces`. */
function pieceInFull(run, step) {
  const [resumed, awaited] = [run.resumed(step), run.awaited(step)];
  const from = resumed === NONE ? null : run.place(resumed);
  const to = awaited === NONE ? null : run.place(awaited);
  const full = (place) => `${position(place)} in ${place.function}`;
  if (from && to && from.file === to.file && from.function === to.function && to.line) {
    return `${position(from)} → ${to.line} in ${from.function}`;
  }
  if (to) return `${from ? `${full(from)} ` : ""}→ ${full(to)}`;
  if (from && run.returned(step)) return `${position(from)} → end in ${from.function}`;
  return from ? full(from) : "";
}

/** `pieces.py:12` */
function position(place) {
  return place.line ? `${fileName(place.file)}:${place.line}` : fileName(place.file);
}

function fileName(path) {
  return path.split(/[/\\]/).filter(Boolean).pop() ?? path;
}

/** What made a step's actor ready. */
function wakeSentence(run, step) {
  const wake = run.columns["step.wake"][step];
  if (wake === TIMER) return "a timer that was due";
  if (wake === DESCRIPTOR) return "a file descriptor that became ready";
  if (wake === OTHER_THREAD) return "another thread";
  return wake === 0 ? "not recorded" : run.nameOf(run.wakerOf(step));
}

/** The place that a starvation is told with: the one that held the processor longest, else where its step went on. */
function placeOf(run, starvation) {
  const id = starvation.places[0]?.place ?? run.resumed(starvation.step);
  return id === NONE ? null : run.place(id);
}

/** What a tooltip says of what is under the pointer, one sentence a line. */
function tooltipLines(run, target) {
  const { step, lane } = target;
  if (target.state === "awaiting") return [`${lane.name} awaits`];
  if (target.steps > 1) return [severalSentence(run, target), "zoom in to see each"];
  const lines = [];
  const waited = run.start[step] - run.since[step];
  if (target.state === "ready") {
    for (const culprit of run.culpritsOf(step).slice(0, NAMED_MAX)) {
      lines.push(waitedSentence(run, culprit.starvation.step, step, culprit.waited));
    }
    const many = run.congested.has(step) ? " for many small steps" : "";
    if (!lines.length) lines.push(`${run.nameOf(step)} was ready and waited ${short(waited)}${many}`);
    lines.push(pieceInFull(run, step));
  } else {
    const at = moment(run.start[step], run.duration);
    lines.push(`${heldSentence(run, step)} at ${at}, after waiting ${short(waited)}`);
    lines.push(pieceInFull(run, step), ...starvationLines(run, run.starvationBy(step)));
  }
  return lines.filter(Boolean);
}

function severalSentence(run, { lane, steps, from, to, busy }) {
  const who = lane.isTask ? `${lane.name}: ` : "";
  const [start, end] = [moment(from, run.duration), moment(to, run.duration)];
  return `${who}${count(steps, "step")} from ${start} to ${end}, which held the processor for ${precise(busy)}`;
}

function starvationLines(run, starvation) {
  if (!starvation) return [];
  const lines = starvation.places.map((place) => place.sentence).slice(0, NAMED_MAX);
  const victims = run.victimsOf(starvation, NAMED_MAX);
  lines.push(...victims.map((victim) => waitedSentence(run, starvation.step, victim.step, victim.waited)));
  const others = starvation.count - victims.length;
  if (others > 0) lines.push(`and ${others === 1 ? "1 other" : `${grouped(others)} others`} had to wait`);
  if (starvation.advice) lines.push(`advice: ${starvation.advice}`);
  return lines;
}

/** What a culprit was seen doing, and at which line: `sleep at 12`. Empty where nobody watched. */
function seenLabel(run, starvation) {
  const [held] = starvation.places;
  if (!held?.seen || held.place === null) return "";
  const place = run.place(held.place);
  const resumed = run.resumed(starvation.step);
  const isSameFile = resumed !== NONE && run.place(resumed).file === place.file;
  return `${held.cause ?? "held"} at ${isSameFile ? place.line : position(place)}`;
}

