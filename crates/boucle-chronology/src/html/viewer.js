/* The viewer: puts the parts together, and what a reader does into them.
 *
 * The state of the page is a range of time and a selected step. Both stand in the address, after the #, so that a place in
 * a recording can be sent to somebody: `#from=0.5&to=1.6&step=4`, times in seconds. Whatever changes the state goes through
 * `changed`, which draws in the next frame, once for any number of changes. */

const ZOOM_STEP = 1.4;
const CLICK_MAX = 4;
const PAN_STEP = 0.15;

class Viewer {
  constructor(run) {
    this.run = run;
    const [canvas, scroller, spacer] = ["canvas", "scroller", "spacer"].map((id) => document.getElementById(id));
    this.canvas = canvas;
    this.timeline = new Timeline(run, canvas, scroller, spacer);
    this.panel = new Panel(run, (step, range) => this.go(step, range));
    this.isDue = false;
    this.written = "";
    this.found = { text: "", actors: [], at: NONE };
    scroller.style.setProperty("--natural", `${this.timeline.height}px`);
    this.listen(scroller);
    this.panel.showFindings();
    this.showWhatIsNotDrawn();
    this.timeline.resize();
    this.readHash();
    this.drawNow();
  }

  showWhatIsNotDrawn() {
    const { tasks_not_drawn: tasks, threads_not_drawn: threads } = this.run.head;
    const more = [[tasks, "more task"], [threads, "more thread"]].filter(([number]) => number > 0);
    const note = document.getElementById("not-drawn");
    note.textContent = more.map(([number, thing]) => `… and ${count(number, thing)}, not drawn`).join(" ");
    note.hidden = !more.length;
  }

  /* State */

  changed() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.isDue = false;
    this.timeline.draw();
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.writeHash(), 150);
  }

  writeHash() {
    const { view, selected } = this.timeline;
    const seconds = (time) => String(Number((time / SECOND).toFixed(9)));
    const all = view.from === 0 && view.to >= this.run.duration;
    const parts = all ? [] : [`from=${seconds(view.from)}`, `to=${seconds(view.to)}`];
    if (selected !== NONE) parts.push(`step=${selected}`);
    const hash = parts.length ? `#${parts.join("&")}` : "";
    if (hash === location.hash) return;
    this.written = hash;
    history.replaceState(null, "", hash || location.pathname + location.search);
  }

  readHash() {
    if (location.hash === this.written && location.hash) return;
    const parts = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (parts.has(name) ? Number(parts.get(name)) : NaN);
    const [from, to, step] = [number("from") * SECOND, number("to") * SECOND, number("step")];
    if (from < to) this.timeline.show(from, to);
    else this.timeline.show(0, this.run.duration);
    this.select(Number.isInteger(step) && step >= 0 && step < this.run.count ? step : NONE);
  }

  select(step) {
    this.timeline.selected = step;
    this.timeline.lane = NONE;
    this.panel.mark(step);
    if (step === NONE) {
      this.panel.showNothing();
    } else {
      this.panel.showStep(step);
      this.timeline.reveal(this.run.laneOf(step));
    }
    this.say(step === NONE ? "nothing is selected" : tooltipLines(this.run, this.targetOf(step)).join("; "));
    this.changed();
  }

  targetOf(step) {
    return { step, lane: this.run.lanes[this.run.laneOf(step)], state: "running", steps: 1 };
  }

  say(sentence) {
    document.getElementById("status").textContent = sentence;
  }

  /** Selects a step, or a range of time, and moves so that it can be seen. */
  go(step, range) {
    const { run, timeline } = this;
    const [start, end] = step === NONE ? [range.start, range.start + range.duration] : [run.start[step], run.end[step]];
    const { from, to } = timeline.view;
    const isWide = timeline.xOf(end) - timeline.xOf(start) >= 6;
    if (start < from || end > to || !isWide) {
      const span = isWide ? Math.max(to - from, (end - start) * 1.3) : Math.max((end - start) * 12, SHORTEST_VIEW * 20);
      timeline.show((start + end - span) / 2, (start + end + span) / 2);
    }
    if (step !== NONE) this.select(step);
    this.changed();
  }

  zoomToSelected() {
    const { timeline, run } = this;
    const step = timeline.selected;
    if (step === NONE) return;
    const margin = Math.max(run.end[step] - run.start[step], 20 * SHORTEST_VIEW) * 0.3;
    timeline.show(Math.min(run.since[step], run.start[step]) - margin, run.end[step] + margin);
    this.changed();
  }

  /** The next starvation after the selected step, or the one before. */
  goToStarvation(direction) {
    const { starvations } = this.run;
    if (!starvations.length) return this.say("there is no starvation");
    const { selected } = this.timeline;
    const after = partitionPoint(0, starvations.length, (at) => starvations[at].step <= selected);
    const before = partitionPoint(0, starvations.length, (at) => starvations[at].step < selected) - 1;
    const index = direction > 0 ? after : selected === NONE ? starvations.length - 1 : before;
    this.go(starvations[(index + starvations.length) % starvations.length].step);
  }

  /** The next step of the selected one's lane, or the one before. */
  goAlong(direction) {
    const { run, timeline } = this;
    const { selected } = timeline;
    const lane = run.lanes[selected === NONE ? 0 : run.laneOf(selected)];
    if (!lane) return;
    const at = partitionPoint(lane.first, lane.last, (at) => lane.grouping.order[at] < selected);
    const next = selected === NONE ? run.endingAfter(lane, timeline.view.from) : at + direction;
    if (next >= lane.first && next < lane.last) this.go(lane.grouping.order[next]);
  }

  /** The lane below or above: its step that is nearest to the selected one. */
  goAcross(direction) {
    const { run, timeline } = this;
    const { selected } = timeline;
    if (selected === NONE) return this.goAlong(1);
    const lane = run.lanes[run.laneOf(selected) + direction];
    if (!lane) return;
    const after = Math.min(run.endingAfter(lane, run.start[selected]), lane.last - 1);
    this.go(lane.grouping.order[after]);
  }

  /* Search */

  search(direction) {
    const text = document.getElementById("query").value.trim().toLowerCase();
    if (text !== this.found.text) this.found = { text, actors: text ? this.matches(text) : [], at: NONE };
    const { actors } = this.found;
    const output = document.getElementById("found");
    output.textContent = text ? "nothing found" : "";
    if (!actors.length) return;
    const start = this.found.at === NONE && direction < 0 ? 0 : this.found.at;
    this.found.at = (start + direction + actors.length) % actors.length;
    output.textContent = `${grouped(this.found.at + 1)} of ${grouped(actors.length)}`;
    const { first, order } = this.run.byActor;
    this.go(order[first[actors[this.found.at]]]);
  }

  /** The actors whose name, coroutine or file has `text`, those with a lane first, in the order of lanes. */
  matches(text) {
    const { run } = this;
    const has = run.texts.map((known) => known.toLowerCase().includes(text));
    const { first } = run.byActor;
    const { "actor.name": names, "actor.function": functions, "lane.file": files } = run.columns;
    const actors = [];
    for (let actor = 0; actor < names.length; actor += 1) {
      if (first[actor] === first[actor + 1]) continue;
      const lane = run.laneOfActor[actor];
      if (has[names[actor]] || has[functions[actor]] || (lane !== NONE && has[files[lane]])) actors.push(actor);
    }
    const rank = (actor) => (run.laneOfActor[actor] === NONE ? run.lanes.length + actor : run.laneOfActor[actor]);
    return actors.sort((one, other) => rank(one) - rank(other));
  }

  /* What a reader does */

  listen(scroller) {
    const { canvas } = this;
    const on = (id, act) => document.getElementById(id).addEventListener("click", act);
    on("zoom-in", () => this.zoom(1 / ZOOM_STEP));
    on("zoom-out", () => this.zoom(ZOOM_STEP));
    on("show-all", () => this.showAll());
    on("next-starvation", () => this.goToStarvation(1));
    on("previous-starvation", () => this.goToStarvation(-1));
    on("show-keys", () => this.toggleKeys());
    on("hide-idle", (event) => this.hideIdle(event.target.checked));
    document.getElementById("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search(1);
    });
    document.addEventListener("keydown", (event) => this.pressed(event));
    canvas.addEventListener("wheel", (event) => this.turned(event, scroller), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.grabbed(event, scroller));
    canvas.addEventListener("pointermove", (event) => this.pointed(event));
    canvas.addEventListener("pointerleave", () => this.panel.showTooltip(null));
    canvas.addEventListener("dblclick", () => this.zoomToSelected());
    scroller.addEventListener("scroll", () => this.changed());
    window.addEventListener("hashchange", () => this.readHash());
    new ResizeObserver(() => (this.timeline.resize(), this.changed())).observe(scroller);
    const recolour = () => (this.timeline.readColours(), this.changed());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
  }

  print(begins) {
    document.documentElement.classList.toggle("printing", begins);
    this.timeline.readColours();
    this.timeline.resize(begins);
    this.timeline.draw();
  }

  zoom(factor, x) {
    this.timeline.zoom(factor, x);
    this.changed();
  }

  showAll() {
    this.timeline.show(0, this.run.duration);
    this.changed();
  }

  /** Leaves out the tasks in which nothing is to be seen in the view, or shows all again. */
  hideIdle(hides) {
    this.timeline.hidesIdle = hides;
    this.timeline.arrange();
    this.changed();
  }

  toggleKeys() {
    const keys = document.getElementById("keys");
    keys.hidden = !keys.hidden;
    document.getElementById("show-keys").setAttribute("aria-expanded", String(!keys.hidden));
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const query = document.getElementById("query");
    if (event.target === query) {
      if (event.key === "Escape") query.blur();
      if (event.key === "Enter" && event.shiftKey) event.preventDefault(), this.search(-1);
      return;
    }
    const { timeline } = this;
    const width = timeline.right - timeline.left;
    const pan = (share) => () => (timeline.pan(share * width), this.changed());
    const anywhere = {
      "+": () => this.zoom(1 / ZOOM_STEP), "=": () => this.zoom(1 / ZOOM_STEP), w: () => this.zoom(1 / ZOOM_STEP),
      "-": () => this.zoom(ZOOM_STEP), s: () => this.zoom(ZOOM_STEP), a: pan(-PAN_STEP), d: pan(PAN_STEP),
      0: () => this.showAll(), Home: () => this.showAll(), n: () => this.goToStarvation(1), p: () => this.goToStarvation(-1),
      "/": () => query.select(), "?": () => this.toggleKeys(), Escape: () => this.select(NONE),
    };
    const onPicture = {
      ArrowLeft: () => this.goAlong(-1), ArrowRight: () => this.goAlong(1),
      ArrowUp: () => this.goAcross(-1), ArrowDown: () => this.goAcross(1), Enter: () => this.zoomToSelected(),
    };
    const act = anywhere[event.key] ?? (event.target === this.canvas ? onPicture[event.key] : undefined);
    if (!act) return;
    event.preventDefault();
    act();
  }

  turned(event, scroller) {
    const { timeline } = this;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    if (event.offsetX < timeline.left && !event.ctrlKey) {
      /* Over the names the wheel moves through the tasks, as it does by itself. */
      if (scroller.scrollHeight > scroller.clientHeight) return;
    }
    event.preventDefault();
    this.panel.showTooltip(null);
    const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) timeline.pan(sideways * lines);
    else timeline.zoom(Math.exp(Math.max(-300, Math.min(300, event.deltaY * lines)) * 0.002), event.offsetX);
    this.changed();
  }

  grabbed(event, scroller) {
    if (event.button !== 0) return;
    const { canvas, timeline } = this;
    const begin = { x: event.offsetX, y: event.offsetY, top: scroller.scrollTop, view: timeline.view };
    const inOverview = begin.y < AXIS.top && begin.x >= timeline.left;
    let moved = inOverview;
    if (inOverview) this.showAround(begin.x);
    canvas.setPointerCapture(event.pointerId);
    const move = (event) => {
      const [x, y] = [event.offsetX - begin.x, event.offsetY - begin.y];
      moved ||= Math.hypot(x, y) >= CLICK_MAX;
      if (!moved) return;
      this.panel.showTooltip(null);
      if (inOverview) return this.showAround(event.offsetX);
      timeline.view = begin.view;
      timeline.pan(-x);
      scroller.scrollTop = begin.top - y;
      this.changed();
    };
    const stop = (event) => {
      canvas.removeEventListener("pointermove", move);
      if (!moved && event.type === "pointerup") this.clicked(event);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", stop, { once: true });
    canvas.addEventListener("pointercancel", stop, { once: true });
  }

  /** Moves the view to a point of the overview. */
  showAround(x) {
    const { timeline, run } = this;
    const middle = (x - timeline.left) / (timeline.right - timeline.left) * run.duration;
    const half = (timeline.view.to - timeline.view.from) / 2;
    timeline.show(middle - half, middle + half);
    this.changed();
  }

  clicked(event) {
    const { timeline } = this;
    const target = timeline.pick(event.offsetX, event.offsetY);
    if (target && target.step !== NONE) return this.select(target.step);
    const lane = timeline.laneAt(event.offsetY);
    this.select(NONE);
    if (!lane) return;
    timeline.lane = lane.index;
    this.panel.showLane(lane);
  }

  pointed(event) {
    const isHeld = event.buttons !== 0;
    const target = isHeld ? null : this.timeline.pick(event.offsetX, event.offsetY);
    this.canvas.style.cursor = target && target.step !== NONE ? "pointer" : isHeld ? "grabbing" : "grab";
    this.panel.showTooltip(target, event.clientX, event.clientY);
  }
}

/** Reads the recording and shows it. What is read is kept as `viewer`, for a look from the browser's console. */
async function begin() {
  try {
    const run = await readRun();
    performance.mark("boucle: read");
    document.querySelector("main").hidden = false;
    window.viewer = new Viewer(run);
    performance.mark("boucle: drawn");
  } catch (error) {
    const trouble = document.getElementById("trouble");
    trouble.textContent = `The recording cannot be shown: ${error}`;
    trouble.hidden = false;
    throw error;
  }
}

begin();
