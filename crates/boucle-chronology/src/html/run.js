/* The recorded run: columns as the page carries them (the crate's html/tables.rs names each), and what is found in them
 * by searching instead of by keeping an object for each step.
 *
 * Steps are numbers, in order of their start. The steps of a lane are a range of `order`, ascending, so that what is at
 * a moment is found by halving: those of one lane neither overlap nor change their order. Times are nanoseconds. */

const TIMER = 1;
const DESCRIPTOR = 2;
const OTHER_THREAD = 3;
const NONE = -1;

/** Inflates the page's data; a promise of a Run. */
async function readRun() {
  const bytes = fromBase64(document.getElementById("data").textContent.trim());
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Run(new Uint8Array(await new Response(stream).arrayBuffer()));
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

class Run {
  constructor(bytes) {
    const headLength = new DataView(bytes.buffer).getUint32(0, true);
    const utf8 = new TextDecoder();
    this.head = JSON.parse(utf8.decode(bytes.subarray(4, 4 + headLength)));
    const columns = {};
    let at = 4 + headLength;
    for (const [name, count, planes] of this.head.columns) {
      columns[name] = numbers(bytes.subarray(at, at + count * planes), count, planes);
      at += count * planes;
    }
    this.columns = columns;
    this.texts = utf8.decode(bytes.subarray(at, at + this.head.texts)).split("\n");
    this.duration = this.head.duration;
    this.threshold = this.head.threshold;
    this.actor = columns["step.actor"];
    this.thread = columns["step.thread"];
    this.count = this.actor.length;
    this.readTimes();
    this.sortByLane();
    this.readStarvations();
  }

  readTimes() {
    const { unit } = this.head;
    const gap = this.columns["step.gap"];
    const lasted = this.columns["step.duration"];
    const wake = this.columns["step.wake"];
    const difference = this.columns["step.since"];
    const isTask = this.columns["actor.task"];
    const { actor, thread, count } = this;
    const start = new Float64Array(count);
    const end = new Float64Array(count);
    const since = new Float64Array(count);
    const free = new Float64Array(this.columns["thread.name"].length);
    const last = new Float64Array(4);
    for (let step = 0; step < count; step += 1) {
      start[step] = free[thread[step]] + gap[step] * unit;
      end[step] = free[thread[step]] = start[step] + lasted[step] * unit;
      const woken = wake[step];
      const waker = step - (woken - 3);
      const guess = woken <= 3 ? last[woken] : isTask[actor[waker]] ? end[waker] : since[waker];
      since[step] = guess + signed(difference[step]) * unit;
      if (woken <= 3) last[woken] = since[step];
    }
    Object.assign(this, { start, end, since });
  }

  /** Puts the steps of each thread, then those of each actor, next to each other, with how long each lane was busy. */
  sortByLane() {
    this.byThread = grouping(this.thread, this.columns["thread.name"].length, this.start, this.end);
    this.byActor = grouping(this.actor, this.columns["actor.name"].length, this.start, this.end);
    const subject = this.columns["lane.subject"];
    this.laneOfActor = new Int32Array(this.columns["actor.name"].length).fill(NONE);
    this.laneOfThread = new Int32Array(this.columns["thread.name"].length).fill(NONE);
    this.lanes = Array.from(subject, (code, index) => {
      const isTask = code % 2 === 1;
      const id = Math.floor(code / 2);
      (isTask ? this.laneOfActor : this.laneOfThread)[id] = index;
      const [grouping, text] = [isTask ? this.byActor : this.byThread, (name) => this.text(`lane.${name}`, index)];
      return {
        index, isTask, id, grouping, first: grouping.first[id], last: grouping.first[id + 1],
        name: text("name"), caption: text("caption"), file: text("file"), depth: this.columns["lane.depth"][index],
        blocks: [], waits: [],
      };
    });
  }

  readStarvations() {
    const steps = this.columns["starvation.step"];
    const victim = { of: this.columns["victim.starvation"], step: this.columns["victim.step"] };
    this.victims = { step: victim.step, waited: Float64Array.from(this.columns["victim.waited"], (t) => t * this.head.unit) };
    this.starvationOf = new Int32Array(this.count).fill(NONE);
    this.starvations = Array.from(steps, (step, index) => ({
      index, step, count: this.columns["starvation.count"][index], first: 0, last: 0, places: [],
    }));
    for (const { starvation, ...detail } of this.head.details) Object.assign(this.starvations[starvation], detail);
    for (const { step, index } of this.starvations) {
      this.starvationOf[step] = index;
      this.laneOfThread[this.thread[step]] !== NONE && this.lanes[this.laneOfThread[this.thread[step]]].blocks.push(step);
      this.laneOfActor[this.actor[step]] !== NONE && this.lanes[this.laneOfActor[this.actor[step]]].blocks.push(step);
    }
    /* For whom a step waited: its entry as a victim that is latest in the list, and from each entry the one before. */
    this.lastVictim = new Int32Array(this.count).fill(NONE);
    this.earlierVictim = new Int32Array(victim.step.length);
    for (let entry = 0; entry < victim.step.length; entry += 1) {
      const starvation = this.starvations[victim.of[entry]];
      if (starvation.last === 0) starvation.first = entry;
      starvation.last = entry + 1;
      const step = victim.step[entry];
      const lane = this.laneOfActor[this.actor[step]];
      if (this.lastVictim[step] === NONE && lane !== NONE) this.lanes[lane].waits.push(step);
      this.earlierVictim[entry] = this.lastVictim[step];
      this.lastVictim[step] = entry;
    }
    this.starvationOfVictim = victim.of;
    this.readCongested();
    for (const lane of this.lanes) lane.waits.sort((one, other) => one - other);
  }

  /** The waits for many small steps are shown like those for one long one. */
  readCongested() {
    const waited = this.columns["congested.waited"];
    this.congested = new Map(Array.from(this.columns["congested.step"], (step, at) => [step, waited[at] * this.head.unit]));
    for (const step of this.congested.keys()) {
      const lane = this.laneOfActor[this.actor[step]];
      if (lane !== NONE && this.lastVictim[step] === NONE) this.lanes[lane].waits.push(step);
    }
  }

  text(column, index) {
    return this.texts[this.columns[column][index]];
  }

  nameOf(step) {
    return this.text("actor.name", this.actor[step]);
  }

  isTask(step) {
    return this.columns["actor.task"][this.actor[step]] === 1;
  }

  durationOf(step) {
    return this.end[step] - this.start[step];
  }

  /** The lane in which a step is looked at: its task's, or that of its thread. */
  laneOf(step) {
    const lane = this.laneOfActor[this.actor[step]];
    return lane === NONE ? this.laneOfThread[this.thread[step]] : lane;
  }

  /** The step that woke one, or NONE. */
  wakerOf(step) {
    const wake = this.columns["step.wake"][step];
    return wake > OTHER_THREAD ? step - (wake - OTHER_THREAD) : NONE;
  }

  /** The place where a step went on, or NONE. */
  resumed(step) {
    return this.columns["step.resumed"][step] - 1;
  }

  /** The place where a step awaited, or NONE. */
  awaited(step) {
    const left = this.columns["step.left"][step];
    return left >= 2 ? left - 2 : NONE;
  }

  returned(step) {
    return this.columns["step.left"][step] === 1;
  }

  place(id) {
    return {
      id, file: this.text("place.file", id), line: this.columns["place.line"][id],
      function: this.text("place.function", id), isUsers: this.columns["place.user"][id] === 1,
    };
  }

  starvationBy(step) {
    return this.starvations[this.starvationOf[step]];
  }

  /** The victims of a starvation, the longest wait first: each a step and how long it waited. */
  victimsOf(starvation, most) {
    const victims = [];
    for (let entry = starvation.first; entry < Math.min(starvation.last, starvation.first + most); entry += 1) {
      victims.push({ step: this.victims.step[entry], waited: this.victims.waited[entry] });
    }
    return victims;
  }

  /** For whom a step had to wait, the longest wait first: each a starvation and how long. */
  culpritsOf(step) {
    const culprits = [];
    for (let entry = this.lastVictim[step]; entry !== NONE; entry = this.earlierVictim[entry]) {
      culprits.push({ starvation: this.starvations[this.starvationOfVictim[entry]], waited: this.victims.waited[entry] });
    }
    return culprits.sort((one, other) => other.waited - one.waited || one.starvation.index - other.starvation.index);
  }

  /** From the first readiness of a task to its end. */
  lifeOf(lane) {
    const [first, last] = [lane.grouping.order[lane.first], lane.grouping.order[lane.last - 1]];
    return { from: this.since[first], to: this.returned(last) ? this.end[last] : this.duration };
  }

  /** The first position in a lane whose step ends after `time`, searched from `from` on. */
  endingAfter(lane, time, from = lane.first) {
    return partitionPoint(from, lane.last, (at) => this.end[lane.grouping.order[at]] <= time);
  }

  /** The first position in a lane whose step starts at `time` or later, searched from `from` on, with growing strides:
   * in a dense lane it is near. */
  startingFrom(lane, time, from) {
    const { order } = lane.grouping;
    let [low, stride] = [from, 1];
    while (low + stride < lane.last && this.start[order[low + stride]] < time) {
      low += stride;
      stride *= 2;
    }
    return partitionPoint(low, Math.min(lane.last, low + stride), (at) => this.start[order[at]] < time);
  }

  /** How long the steps from one position of a lane to another were busy. */
  busy(lane, from, to) {
    return lane.grouping.busy[to] - lane.grouping.busy[from];
  }
}

/** The number of the first position for which `before` does not hold. */
function partitionPoint(low, high, before) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function numbers(bytes, count, planes) {
  const Kind = planes <= 1 ? Uint8Array : planes <= 2 ? Uint16Array : planes <= 4 ? Uint32Array : Float64Array;
  const values = new Kind(count);
  for (let plane = 0, scale = 1; plane < planes; plane += 1, scale *= 256) {
    const part = bytes.subarray(plane * count, (plane + 1) * count);
    for (let at = 0; at < count; at += 1) values[at] += part[at] * scale;
  }
  return values;
}

function signed(number) {
  return number % 2 === 1 ? -(number + 1) / 2 : number / 2;
}

/** The steps of each group next to each other: `order` from `first[group]` to `first[group + 1]`. */
function grouping(group, groups, start, end) {
  const first = new Uint32Array(groups + 1);
  for (const of of group) first[of + 1] += 1;
  for (let at = 0; at < groups; at += 1) first[at + 1] += first[at];
  const next = first.slice();
  const order = new Uint32Array(group.length);
  for (let step = 0; step < group.length; step += 1) order[next[group[step]]++] = step;
  const busy = new Float64Array(group.length + 1);
  for (let at = 0; at < order.length; at += 1) busy[at + 1] = busy[at] + end[order[at]] - start[order[at]];
  return { first, order, busy };
}

