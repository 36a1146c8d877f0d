/* The picture: an overview, the axis, the processor's lanes, which stay in place, and the tasks' lanes, which scroll.
 *
 * It is drawn anew for each view, so what it costs must not grow with the recording. A lane is walked by columns of one
 * pixel: from the first step of a column the first of the next one is found by halving, and how busy a column was is a
 * difference of sums. A wait of a pixel or more always ends at the first step of a column, so none is missed. Steps past
 * the threshold and their victims' waits have lists of their own, are drawn last and at least two pixels wide: zooming
 * out never hides a block, nor a wait for one behind what merely ran.
 *
 * Where several steps share a column the bar is striped and as high as the column was busy. */

const OVERVIEW = { top: 4, height: 26 };
const AXIS = { top: 34, height: 22 };
const LANES_TOP = AXIS.top + AXIS.height;
const AFTER_THREADS = 8;
const ROOMY = { height: 46, bar: 6, thick: 20, name: 18, caption: 35, below: 38 };
const LOW = { height: 22, bar: 3, thick: 16, name: 15, caption: 0, below: 0 };
const ROOMY_LANES_MAX = 20;
const PRINTED_LANES_MAX = 60;
const INDENT = 14;
const INDENTED_MAX = 6;
const EDGE = 10;
const LEAST = 2;
const SHORTEST_VIEW = 1000;
const LEVELS = 4;
const ARROWS_MAX = 5;

const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", Arial, sans-serif';
const FONTS = {
  name: `500 13px ${SANS}`,
  thread: `600 13px ${SANS}`,
  tick: `11px ${SANS}`,
  bar: `500 11.5px ${SANS}`,
  code: '10.5px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
};
const COLOURS = [
  "running", "many", "blocking", "hatch", "ready", "ready-edge", "awaiting", "band", "text", "muted", "grid", "panel",
  "page", "selected", "in-running", "in-blocking", "in-ready",
];

class Timeline {
  constructor(run, canvas, scroller, spacer) {
    Object.assign(this, { run, canvas, scroller, spacer, context: canvas.getContext("2d") });
    this.view = { from: 0, to: Math.max(run.duration, 1) };
    this.selected = NONE;
    this.widths = new Map();
    this.threads = run.lanes.filter((lane) => !lane.isTask).length;
    this.row = run.lanes.length <= ROOMY_LANES_MAX ? ROOMY : LOW;
    this.tasksTop = LANES_TOP + this.threads * this.row.height + AFTER_THREADS;
    this.hidesIdle = false;
    this.arrange();
    this.left = this.gutter() + EDGE;
    this.readColours();
  }

  /* Sizes and colours */

  /** Puts the tasks' lanes into rows: all, or those in which something is to be seen in this view. */
  arrange() {
    const tasks = this.run.lanes.slice(this.threads);
    this.rows = this.hidesIdle ? tasks.filter((lane) => this.isActive(lane)) : tasks;
    this.rowOf = new Int32Array(this.run.lanes.length).fill(NONE);
    this.rows.forEach((lane, row) => (this.rowOf[lane.index] = row));
    this.height = this.tasksTop + this.rows.length * this.row.height + 6;
    if (this.shown) this.spacer.style.height = `${this.height}px`;
  }

  /** Whether a task runs or waits in this view. */
  isActive(lane) {
    const at = this.run.endingAfter(lane, this.view.from);
    return at < lane.last && this.run.since[lane.grouping.order[at]] < this.view.to;
  }

  gutter() {
    let widest = 72;
    for (const lane of this.run.lanes.slice(0, 500)) {
      const name = this.width(lane.name, FONTS.thread);
      const caption = this.row.caption ? this.width(lane.caption, FONTS.code) : 0;
      widest = Math.max(widest, this.indent(lane) + Math.max(name, caption));
    }
    return EDGE + Math.min(widest, 260) + 6;
  }

  indent(lane) {
    return INDENT * Math.min(lane.depth, INDENTED_MAX);
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    this.colour = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.patterns = null;
    this.overview = null;
  }

  /** Takes the size of its element, and all lanes while printing. */
  resize(printing = false) {
    const most = LANES_TOP + PRINTED_LANES_MAX * this.row.height;
    this.spacer.style.height = `${printing ? Math.min(this.height, most) : this.height}px`;
    this.shown = {
      width: this.scroller.clientWidth,
      height: printing ? Math.min(this.height, most) : this.scroller.clientHeight,
    };
    this.ratio = printing ? 3 : window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.shown.width * this.ratio);
    this.canvas.height = Math.round(this.shown.height * this.ratio);
    this.canvas.style.width = `${this.shown.width}px`;
    this.canvas.style.height = `${this.shown.height}px`;
    this.right = Math.max(this.shown.width - EDGE, this.left + 50);
    this.patterns = null;
    this.overview = null;
  }

  makePatterns() {
    this.patterns = {
      hatch: this.pattern(8, (c) => {
        c.fillStyle = this.colour.blocking;
        c.fillRect(0, 0, 8, 8);
        c.strokeStyle = this.colour.hatch;
        c.lineWidth = 1.7;
        c.beginPath();
        for (const shift of [-8, 0, 8]) c.moveTo(shift - 1, 9), c.lineTo(shift + 9, -1);
        c.stroke();
      }),
      many: this.pattern(3, (c) => {
        c.fillStyle = this.colour.running;
        c.fillRect(0, 0, 3, 3);
        c.fillStyle = this.colour.many;
        c.fillRect(0, 0, 1, 3);
      }),
    };
  }

  /** A square that repeats, drawn at the resolution of the screen. */
  pattern(size, draw) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(size * this.ratio);
    const scale = tile.width / size;
    const context = tile.getContext("2d");
    context.scale(scale, scale);
    draw(context);
    const pattern = this.context.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / scale));
    return pattern;
  }

  width(text, font) {
    const key = font + text;
    let width = this.widths.get(key);
    if (width === undefined) {
      this.context.font = font;
      width = this.context.measureText(text).width;
      if (this.widths.size > 20000) this.widths.clear();
      this.widths.set(key, width);
    }
    return width;
  }

  /** `text` cut to `room` pixels, with an … that says so. */
  cut(text, font, room) {
    if (this.width(text, font) <= room) return text;
    const letters = Array.from(text);
    const kept = partitionPoint(0, letters.length, (n) => this.width(`${letters.slice(0, n + 1).join("")}…`, font) <= room);
    return `${letters.slice(0, kept).join("")}…`;
  }

  /* Where things are */

  xOf(time) {
    return this.left + (time - this.view.from) / (this.view.to - this.view.from) * (this.right - this.left);
  }

  timeAt(x) {
    return this.view.from + (x - this.left) / (this.right - this.left) * (this.view.to - this.view.from);
  }

  /** The top of a lane on the canvas. */
  yOf(index) {
    if (index < this.threads) return LANES_TOP + index * this.row.height;
    return this.tasksTop + this.rowOf[index] * this.row.height - this.scroller.scrollTop;
  }

  /** Whether a lane has a row now. */
  isArranged(index) {
    return index < this.threads || this.rowOf[index] !== NONE;
  }

  laneAt(y) {
    if (y < LANES_TOP) return null;
    const top = y >= this.tasksTop ? this.tasksTop - this.scroller.scrollTop : LANES_TOP;
    const lanes = y >= this.tasksTop ? this.rows : this.run.lanes.slice(0, this.threads);
    return lanes[Math.floor((y - top) / this.row.height)] ?? null;
  }

  /** The task lanes that can be seen. */
  visibleTasks() {
    const first = Math.floor(this.scroller.scrollTop / this.row.height);
    const rows = Math.ceil((this.shown.height - this.tasksTop) / this.row.height) + 1;
    return this.rows.slice(first, first + rows);
  }

  /** The rectangle of a step's run in its lane, on the canvas. */
  rectangle(step, lane = this.run.laneOf(step)) {
    const [from, to] = [this.xOf(this.run.start[step]), this.xOf(this.run.end[step])];
    return { x: from, y: this.yOf(lane) + this.row.bar, width: Math.max(to - from, LEAST), height: this.row.thick };
  }

  /* The view */

  show(from, to) {
    const all = Math.max(this.run.duration, 1);
    const span = Math.min(Math.max(to - from, Math.min(SHORTEST_VIEW, all)), all);
    const start = Math.min(Math.max((from + to - span) / 2, 0), all - span);
    this.view = { from: start, to: start + span };
  }

  /** Zooms so that the time at `x` stays where it is. */
  zoom(factor, x = (this.left + this.right) / 2) {
    const fixed = this.timeAt(Math.min(Math.max(x, this.left), this.right));
    const { from, to } = this.view;
    const all = Math.max(this.run.duration, 1);
    const span = Math.min(Math.max((to - from) * factor, Math.min(SHORTEST_VIEW, all)), all);
    const start = fixed - (fixed - from) / (to - from) * span;
    this.show(start, start + span);
  }

  pan(pixels) {
    const time = pixels / (this.right - this.left) * (this.view.to - this.view.from);
    this.show(this.view.from + time, this.view.to + time);
  }

  /** Scrolls so that a lane can be seen. */
  reveal(index) {
    if (index < this.threads || !this.isArranged(index)) return;
    const top = this.rowOf[index] * this.row.height;
    const room = this.scroller.clientHeight - this.tasksTop - this.row.height;
    const { scrollTop } = this.scroller;
    if (top < scrollTop || top > scrollTop + room) this.scroller.scrollTop = Math.max(0, top - room / 2);
  }

  /* Drawing */

  draw() {
    if (!this.patterns) this.makePatterns();
    if (this.hidesIdle) this.arrange();
    const { context: c, shown } = this;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, shown.width, shown.height);
    c.fillStyle = this.colour.panel;
    c.fillRect(0, LANES_TOP, shown.width, this.threads * this.row.height);
    this.drawOverview();
    this.drawAxis();
    this.drawBands();
    for (let index = 0; index < this.threads; index += 1) this.drawLane(this.run.lanes[index]);
    c.save();
    c.beginPath();
    c.rect(0, this.tasksTop, shown.width, shown.height - this.tasksTop);
    c.clip();
    for (const lane of this.visibleTasks()) this.drawLane(lane);
    c.restore();
    this.drawSelection();
  }

  drawOverview() {
    const { context: c, run } = this;
    const [from, to] = [this.left, this.right];
    if (!this.overview) this.overview = this.overviewColumns(Math.floor(to - from));
    c.fillStyle = this.colour.panel;
    c.fillRect(from, OVERVIEW.top, to - from, OVERVIEW.height);
    c.fillStyle = this.colour.running;
    const bottom = OVERVIEW.top + OVERVIEW.height;
    this.overview.forEach((share, x) => {
      const height = share * (OVERVIEW.height - 4);
      if (height > 0) c.fillRect(from + x, bottom - Math.max(height, 1), 1, Math.max(height, 1));
    });
    c.fillStyle = this.colour.blocking;
    const scale = (to - from) / Math.max(run.duration, 1);
    let free = 0;
    for (const { step } of run.starvations) {
      const x = from + run.start[step] * scale;
      const end = Math.max(from + run.end[step] * scale, x + LEAST);
      if (end > free) c.fillRect(Math.max(x, free), OVERVIEW.top, end - Math.max(x, free), OVERVIEW.height), (free = end);
    }
    const window = [from + this.view.from * scale, from + this.view.to * scale];
    c.fillStyle = this.colour.page;
    c.globalAlpha = 0.65;
    c.fillRect(from, OVERVIEW.top, window[0] - from, OVERVIEW.height);
    c.fillRect(window[1], OVERVIEW.top, to - window[1], OVERVIEW.height);
    c.globalAlpha = 1;
    c.strokeStyle = this.colour.muted;
    c.lineWidth = 1;
    c.strokeRect(window[0] + 0.5, OVERVIEW.top + 0.5, Math.max(window[1] - window[0] - 1, 2), OVERVIEW.height - 1);
    c.fillStyle = this.colour.muted;
    c.font = FONTS.tick;
    c.fillText("all", EDGE, OVERVIEW.top + 17);
  }

  /** How busy the threads were in each column of the whole recording, from 0 to 1. */
  overviewColumns(columns) {
    const { run } = this;
    const column = Math.max(run.duration, 1) / columns;
    const shares = new Float64Array(columns);
    for (const lane of run.lanes.slice(0, this.threads)) {
      const busyUntil = (time) => {
        const at = run.endingAfter(lane, time);
        const within = at < lane.last ? Math.max(0, time - run.start[lane.grouping.order[at]]) : 0;
        return run.busy(lane, lane.first, at) + within;
      };
      let before = 0;
      for (let x = 0; x < columns; x += 1) {
        const after = busyUntil((x + 1) * column);
        shares[x] += (after - before) / column / this.threads;
        before = after;
      }
    }
    return shares;
  }

  drawAxis() {
    const { context: c, view } = this;
    c.font = FONTS.tick;
    const sample = this.width(tick(view.to, Math.max((view.to - view.from) / 8, 1)), FONTS.tick) + 36;
    const { step, times } = ticks(view.from, view.to, Math.max(2, (this.right - this.left) / sample));
    c.strokeStyle = this.colour.grid;
    c.fillStyle = this.colour.muted;
    c.lineWidth = 1;
    c.beginPath();
    for (const time of times) {
      const x = Math.round(this.xOf(time)) + 0.5;
      c.moveTo(x, LANES_TOP - 5);
      c.lineTo(x, this.shown.height);
      const label = tick(time, step);
      c.fillText(label, Math.min(x - 1, this.shown.width - this.width(label, FONTS.tick) - 4), AXIS.top + 14);
    }
    c.stroke();
  }

  /** Tints all lanes where a step was past the threshold. */
  drawBands() {
    const { context: c, run, view } = this;
    const bottom = Math.min(this.shown.height, this.height - 6 - this.scroller.scrollTop);
    c.fillStyle = this.colour.band;
    let free = this.left;
    for (const { step } of run.starvations) {
      const [start, end] = [run.start[step] + run.threshold, run.end[step]];
      if (end < view.from || start > view.to) continue;
      const x = Math.max(this.xOf(start), free);
      const to = Math.min(Math.max(this.xOf(end), this.xOf(start) + LEAST), this.right);
      if (to > x) c.fillRect(x, LANES_TOP, to - x, bottom - LANES_TOP), (free = to);
    }
  }

  drawLane(lane) {
    const { context: c, row } = this;
    const y = this.yOf(lane.index);
    const isSelected = this.selected !== NONE && this.run.laneOf(this.selected) === lane.index;
    if (isSelected || lane.index === this.lane) {
      c.fillStyle = this.colour.panel;
      c.fillRect(0, y, this.left - 4, row.height);
    }
    const x = EDGE + this.indent(lane);
    const room = this.left - x - 6;
    const font = lane.isTask ? FONTS.name : FONTS.thread;
    const name = this.cut(lane.name, font, room);
    const caption = row.caption ? this.cut(lane.caption, FONTS.code, room) : "";
    c.font = font;
    c.fillStyle = this.colour.text;
    c.fillText(name, x, y + row.name);
    c.font = FONTS.code;
    c.fillStyle = this.colour.muted;
    if (caption) c.fillText(caption, x, y + row.caption);
    c.save();
    c.beginPath();
    c.rect(this.left - 1, y, this.right - this.left + 2, row.height);
    c.clip();
    this.drawBars(lane, y);
    c.restore();
  }

  drawBars(lane, top) {
    const { row } = this;
    const bar = { y: top + row.bar, height: row.thick };
    if (lane.isTask) this.drawAwaiting(lane, bar);
    const labels = [];
    const waits = [];
    this.drawRuns(lane, bar, waits, labels);
    for (const step of waits) this.drawWait(step, bar, this.xOf(this.run.since[step]), this.xOf(this.run.start[step]));
    this.drawVictims(lane, bar);
    this.drawBlocks(lane, bar);
    if (row.below) this.drawLabels(labels, top + row.below);
  }

  drawAwaiting(lane, bar) {
    const { context: c } = this;
    const { from, to } = this.run.lifeOf(lane);
    const [x, end] = [Math.max(this.xOf(from), this.left), Math.min(this.xOf(to), this.right)];
    if (end <= x) return;
    c.fillStyle = this.colour.awaiting;
    c.fillRect(x, bar.y + bar.height / 2 - 1, end - x, 2);
  }

  /** Walks a lane by columns. Fills `waits` with the steps whose waits are wide enough to be seen, and `labels`. */
  drawRuns(lane, bar, waits, labels) {
    const { context: c, run, view } = this;
    const { order } = lane.grouping;
    const many = { x: 0, end: 0, level: 0 };
    let at = run.endingAfter(lane, view.from);
    while (at < lane.last) {
      const step = order[at];
      const x = this.xOf(run.start[step]);
      const waited = lane.isTask ? x - this.xOf(run.since[step]) : 0;
      if (waited >= 1) waits.push(step);
      if (run.start[step] >= view.to) break;
      const column = Math.max(Math.floor(x), Math.floor(this.left));
      const next = Math.max(run.startingFrom(lane, this.timeAt(column + 1), at), at + 1);
      const last = order[next - 1];
      if (next - at > 1) {
        const share = run.busy(lane, at, next) / (this.timeAt(column + 1) - this.timeAt(column));
        this.addMany(many, column, Math.max(2, Math.ceil(Math.min(share, 1) * LEVELS)), bar);
      }
      const [from, to] = [this.xOf(run.start[last]), this.xOf(run.end[last])];
      if (next - at === 1 || to > column + 2) {
        this.fillMany(many, bar);
        /* A gap, where there is room for one, tells a step from the one that follows at once. */
        const width = to - from > 4 ? to - from - 0.7 : Math.max(to - from, 1);
        const left = Math.max(from, this.left - 4);
        c.fillStyle = this.colour.running;
        c.fillRect(left, bar.y, Math.min(from + width, this.right + 4) - left, bar.height);
        this.labelRun(lane, last, bar, from, to, labels, next);
      }
      at = next;
    }
    this.fillMany(many, bar);
  }

  addMany(many, column, level, bar) {
    if (many.end === column && many.level === level) {
      many.end = column + 1;
      return;
    }
    this.fillMany(many, bar);
    Object.assign(many, { x: column, end: column + 1, level });
  }

  fillMany(many, bar) {
    if (many.end > many.x) {
      const height = bar.height * many.level / LEVELS;
      this.context.fillStyle = this.patterns.many;
      this.context.fillRect(many.x, bar.y + bar.height - height, many.end - many.x, height);
    }
    many.end = many.x = 0;
  }

  /** Writes whose step it is into a bar of the processor, and remembers what to write below it. */
  labelRun(lane, step, bar, from, to, labels, next) {
    const { run } = this;
    if (!lane.isTask && run.starvationOf[step] === NONE) {
      this.write([run.nameOf(step)], bar, from, to, "in-running");
    }
    if (!this.row.below) return;
    const after = next < lane.last ? this.xOf(run.start[lane.grouping.order[next]]) : this.right;
    if (after - from > 16) labels.push({ step, x: Math.max(from, this.left), room: after - from, isTask: lane.isTask, width: to - from });
  }

  drawLabels(labels, y) {
    const { context: c, run } = this;
    c.font = FONTS.code;
    c.fillStyle = this.colour.muted;
    for (const { step, x, room, isTask, width } of labels) {
      const inBar = !isTask && (run.starvationOf[step] !== NONE || width > this.width(run.nameOf(step), FONTS.bar) + 10);
      const text = isTask ? pieceLabel(run, step) : run.nameOf(step);
      if (text && !inBar && this.width(text, FONTS.code) + 6 <= room) c.fillText(text, x + 2, y);
    }
  }

  drawVictims(lane, bar) {
    const { run, view } = this;
    const { waits } = lane;
    let free = -Infinity;
    for (let at = partitionPoint(0, waits.length, (at) => run.start[waits[at]] < view.from); at < waits.length; at += 1) {
      const step = waits[at];
      const x = this.xOf(run.since[step]);
      if (x > this.right) break;
      const end = Math.max(this.xOf(run.start[step]), x + LEAST);
      if (end - free >= 1) this.drawWait(step, bar, x, end), (free = end);
    }
  }

  /** A wait: an outlined bar, lower than one that runs. */
  drawWait(step, bar, from, to) {
    const { context: c } = this;
    const [x, end] = [Math.round(Math.max(from, this.left - 4)), Math.round(Math.min(to, this.right + 4))];
    if (end <= x) return;
    const [y, height] = [bar.y + 2, bar.height - 4];
    c.fillStyle = end - x < 3 ? this.colour["ready-edge"] : this.colour.ready;
    c.fillRect(x, y, end - x, height);
    if (end - x < 3) return;
    c.strokeStyle = this.colour["ready-edge"];
    c.lineWidth = 1;
    c.strokeRect(x + 0.5, y + 0.5, end - x - 1, height - 1);
    if (end - x > 36) this.write(waitLabels(this.run, step), bar, from, to, "in-ready");
  }

  /** What is past the threshold, hatched. */
  drawBlocks(lane, bar) {
    const { context: c, run, view } = this;
    const { blocks } = lane;
    let free = -Infinity;
    for (let at = partitionPoint(0, blocks.length, (at) => run.end[blocks[at]] < view.from); at < blocks.length; at += 1) {
      const step = blocks[at];
      if (run.start[step] > view.to) break;
      const from = this.xOf(run.start[step] + run.threshold);
      const to = Math.max(this.xOf(run.end[step]), from + LEAST);
      let [x, end] = [Math.max(from, this.left - 4, free), Math.min(to, this.right + 4)];
      if (end <= x) continue;
      free = end;
      const isNarrow = end - x < 4;
      /* On the grid of pixels, or half of it would be pale. */
      if (isNarrow) [x, end] = [Math.floor(x), Math.floor(x) + Math.round(end - x)];
      c.fillStyle = isNarrow ? this.colour.blocking : this.patterns.hatch;
      c.fillRect(x, bar.y, end - x, bar.height);
      const held = precise(run.durationOf(step));
      const { cause } = run.starvationBy(step);
      const texts = lane.isTask
        ? [`held the processor for ${held}`, ...(cause ? [`${cause} · ${held}`] : []), held]
        : [`${run.nameOf(step)} · ${held}`, held];
      if (end - x > 30) this.write(texts, bar, from, to, "in-blocking");
    }
  }

  /** Writes the longest of some texts that fits into the seen part of a bar. */
  write(texts, bar, from, to, colour) {
    const { context: c } = this;
    const [x, end] = [Math.max(from, this.left), Math.min(to, this.right)];
    const text = texts.find((text) => this.width(text, FONTS.bar) <= end - x - 10);
    if (text === undefined) return;
    const width = this.width(text, FONTS.bar);
    const middle = (x + end) / 2;
    if (colour === "in-blocking") {
      /* Hatching behind letters makes them hard to read. */
      c.fillStyle = this.colour.blocking;
      c.fillRect(middle - width / 2 - 4, bar.y, width + 8, bar.height);
    }
    c.font = FONTS.bar;
    c.fillStyle = this.colour[colour];
    c.fillText(text, middle - width / 2, bar.y + bar.height / 2 + 4);
  }

  /** Outlines the selected step, with an arrow from who woke it and, of a starvation, to its victims. */
  drawSelection() {
    const { context: c, run, selected: step } = this;
    if (step === NONE) return;
    c.save();
    c.beginPath();
    c.rect(this.left - 3, LANES_TOP, this.right - this.left + 6, this.shown.height - LANES_TOP);
    c.clip();
    c.strokeStyle = c.fillStyle = this.colour.selected;
    c.lineWidth = 2;
    for (const lane of new Set([run.laneOfThread[run.thread[step]], run.laneOf(step)])) {
      if (!this.isArranged(lane)) continue;
      const { x, y, width, height } = this.rectangle(step, lane);
      if (lane < this.threads || y + height > this.tasksTop) c.strokeRect(x - 1, y - 1, width + 2, height + 2);
    }
    c.lineWidth = 1.2;
    const waker = run.wakerOf(step);
    if (waker !== NONE) this.arrow(waker, run.end[waker], step, run.since[step]);
    const starvation = run.starvationBy(step);
    for (const victim of starvation ? run.victimsOf(starvation, ARROWS_MAX) : []) {
      const since = Math.max(run.since[victim.step], run.start[step]);
      this.arrow(step, since, victim.step, since);
    }
    c.restore();
  }

  /** From a step at a moment to another one at a moment. */
  arrow(step, time, toStep, toTime) {
    const { context: c, run } = this;
    const lanes = [run.laneOf(step), run.laneOf(toStep)];
    if (lanes[0] === lanes[1] || !lanes.every((lane) => this.isArranged(lane))) return;
    const middle = this.row.bar + this.row.thick / 2;
    const from = { x: this.xOf(time), y: this.yOf(lanes[0]) + middle };
    const to = { x: this.xOf(toTime), y: this.yOf(lanes[1]) + middle };
    const turn = Math.sign(to.y - from.y);
    const tip = to.y - turn * (this.row.thick / 2 - 2);
    c.beginPath();
    c.moveTo(from.x, from.y + turn * this.row.thick / 2);
    c.lineTo(to.x, tip);
    c.stroke();
    c.beginPath();
    c.moveTo(to.x, tip);
    c.lineTo(to.x - 3.5, tip - turn * 6);
    c.lineTo(to.x + 3.5, tip - turn * 6);
    c.fill();
  }

  /* What is under a point */

  /** The lane, the step and the state there: the same that is drawn, with what is greater first. Null where nothing is. */
  pick(x, y) {
    const lane = this.laneAt(y);
    if (!lane || x < this.left || x > this.right) return null;
    const { run } = this;
    const [early, time, late] = [this.timeAt(x - LEAST), this.timeAt(x), this.timeAt(x + LEAST)];
    const { blocks, waits } = lane;
    const block = blocks[partitionPoint(0, blocks.length, (at) => run.end[blocks[at]] < early)];
    if (block !== undefined && run.start[block] + run.threshold <= late) return this.target(lane, block, "blocking");
    const wait = waits[partitionPoint(0, waits.length, (at) => run.start[waits[at]] < early)];
    const isNarrow = wait !== undefined && this.xOf(run.start[wait]) - this.xOf(run.since[wait]) < 2 * LEAST;
    if (wait !== undefined && run.since[wait] <= (isNarrow ? late : time) && run.start[wait] >= (isNarrow ? early : time)) {
      return this.target(lane, wait, "ready");
    }
    return this.pickRun(lane, x, time) ?? this.pickAwaiting(lane, time);
  }

  pickRun(lane, x, time) {
    const { run } = this;
    const { order } = lane.grouping;
    const column = Math.floor(x);
    const first = run.endingAfter(lane, this.timeAt(column));
    const next = run.startingFrom(lane, this.timeAt(column + 1), first);
    if (next - first > 1) {
      let longest = order[first];
      for (let at = first; at < next; at += 1) {
        if (run.durationOf(order[at]) > run.durationOf(longest)) longest = order[at];
      }
      const [from, to] = [run.start[order[first]], run.end[order[next - 1]]];
      return { ...this.target(lane, longest, "running"), steps: next - first, from, to, busy: run.busy(lane, first, next) };
    }
    for (const at of [first, first - 1]) {
      const step = order[at];
      if (at < lane.first || at >= lane.last) continue;
      const { x: from, width } = this.rectangle(step, lane.index);
      if (x >= from - 1 && x <= from + width + 1) return this.target(lane, step, "running");
    }
    const step = first < lane.last ? order[first] : NONE;
    if (lane.isTask && step !== NONE && run.since[step] <= time && time < run.start[step]) {
      return this.target(lane, step, "ready");
    }
    return null;
  }

  pickAwaiting(lane, time) {
    if (!lane.isTask) return null;
    const { from, to } = this.run.lifeOf(lane);
    return time >= from && time <= to ? this.target(lane, NONE, "awaiting") : null;
  }

  target(lane, step, state) {
    return { lane, step, state, steps: 1 };
  }
}

