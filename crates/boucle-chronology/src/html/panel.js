/* What the page says in words: the details of what is selected, the tooltip, and the tables, which lead to the picture.
 *
 * Names, files and source lines come from the recorded program. They become the text of nodes, never markup. */

const ROWS_MAX = 500;
const VICTIMS_SHOWN = 200;
const VICTIMS_AT_ONCE = 8;
const FRAMES_SHOWN = 40;

/** An element with attributes and children; `onclick` is a listener. Texts become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute === "onclick") made.addEventListener("click", value);
    else if (value !== undefined && value !== false) made.setAttribute(attribute, value);
  }
  return filled(made, children);
}

/** Gives an element these children, in nested lists or not, in place of what it had. What is empty is left out. */
function filled(node, children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

class Panel {
  /** `go(step)` selects a step and shows it. */
  constructor(run, go) {
    Object.assign(this, { run, go, aside: document.getElementById("panel"), tooltip: document.getElementById("tooltip") });
  }

  /* Details */

  /** A sentence on how to begin. */
  showNothing() {
    filled(this.aside, [
      element("h2", {}, "Details"),
      element("p", { class: "hint" }, "Point at a bar to see what it is, click it for its place, its cause and who waited."),
    ]);
  }

  showLane(lane) {
    const { run } = this;
    let [waited, longestWait, longest] = [0, 0, NONE];
    for (let at = lane.first; at < lane.last; at += 1) {
      const step = lane.grouping.order[at];
      const wait = run.start[step] - run.since[step];
      waited += wait;
      longestWait = Math.max(longestWait, wait);
      if (longest === NONE || run.durationOf(step) > run.durationOf(longest)) longest = step;
    }
    const busy = run.busy(lane, lane.first, lane.last);
    const share = ` (${percent(busy / Math.max(run.duration, 1))})`;
    const parent = lane.isTask ? run.columns["actor.parent"][lane.id] - 1 : NONE;
    filled(this.aside, [
      element("h2", {}, lane.name),
      facts([
        ["coroutine", lane.isTask ? run.text("actor.function", lane.id) : ""],
        ["file", lane.file],
        ["created by", parent === NONE ? "" : this.actorLink(parent)],
        ["held the processor", `${precise(busy)}${share} in ${count(lane.last - lane.first, "step")}`],
        ["longest step", longest === NONE ? "" : this.link(longest, precise(run.durationOf(longest)))],
        ["waited, ready", lane.isTask ? `${short(waited)}, the longest time ${short(longestWait)}` : ""],
      ]),
    ]);
  }

  showStep(step) {
    const { run } = this;
    const starvation = run.starvationBy(step);
    const waited = run.start[step] - run.since[step];
    const culprits = run.culpritsOf(step);
    const waker = run.wakerOf(step);
    const stall = run.head.stalls.find((stall) => stall.step === step);
    filled(this.aside, [
      element("h2", { class: starvation ? "alarm" : "" }, starvation?.sentence ?? heldSentence(run, step)),
      stall ? [element("p", {}, stall.sentence), element("p", { class: "advice" }, stall.advice)] : "",
      facts([
        [run.isTask(step) ? "task" : "callback", this.actorLink(run.actor[step], run.nameOf(step))],
        ["coroutine", run.isTask(step) ? run.text("actor.function", run.actor[step]) : ""],
        ["ran", pieceInFull(run, step)],
        ["file", this.fileOf(step)],
        ["from", `${moment(run.start[step], run.duration)} to ${moment(run.end[step], run.duration)}`],
        ["thread", run.columns["thread.name"].length > 1 ? run.text("thread.name", run.thread[step]) : ""],
        ["ready since", waited ? `${moment(run.since[step], run.duration)}, so it waited ${short(waited)}` : "it began"],
        ["woken by", waker === NONE ? wakeSentence(run, step) : this.link(waker, run.nameOf(waker))],
        ["cause", starvation?.cause ?? ""],
      ]),
      starvation?.advice ? element("p", { class: "advice" }, starvation.advice) : "",
      culprits.length ? this.waits("Had to wait for", culprits.map((of) => [of.starvation.step, of.waited]), culprits.length) : "",
      starvation ? this.places(starvation) : "",
      starvation ? this.victims(starvation) : "",
    ]);
    this.aside.scrollTop = 0;
  }

  fileOf(step) {
    const place = this.run.resumed(step);
    return place === NONE ? "" : this.run.place(place).file;
  }

  victims(starvation) {
    const victims = this.run.victimsOf(starvation, VICTIMS_SHOWN).map((victim) => [victim.step, victim.waited]);
    return victims.length ? this.waits("Had to wait meanwhile", victims, starvation.count) : element("p", {}, "Nobody had to wait.");
  }

  /** A list of steps and how long each waited, or was waited for. */
  waits(title, waits, all) {
    const items = waits.map(([step, waited]) =>
      element("li", {}, this.link(step, this.run.nameOf(step)), element("span", { class: "number" }, short(waited))));
    const rest = items.splice(VICTIMS_AT_ONCE);
    const untold = all - waits.length;
    return [
      element("h3", {}, title),
      element("ul", { class: "waits" }, items),
      rest.length ? element("details", {}, element("summary", {}, `${grouped(all - items.length)} more`), element("ul", { class: "waits" }, rest)) : "",
      untold ? element("p", { class: "hint" }, `The ${grouped(waits.length)} that waited longest.`) : "",
    ];
  }

  /** Where a starvation spent its time: each place with its lines of code and its stack. */
  places(starvation) {
    const { run } = this;
    if (!starvation.places.length) {
      const place = run.resumed(starvation.step);
      return place === NONE ? "" : [element("h3", {}, "Resumed at"), this.source(run.place(place))];
    }
    return starvation.places.map((held) => {
      const place = held.place === null ? null : run.place(held.place);
      const cause = held.cause ? `, ${held.cause}` : "";
      const title = held.seen ? `${precise(held.held)} here${cause}` : `Resumed at${cause}`;
      return [element("h3", {}, title), place ? this.source(place) : "", this.stack(held.stack)];
    });
  }

  source(place) {
    const lines = Object.entries(this.run.head.sources[place.file] ?? {})
      .map(([number, text]) => [Number(number), text])
      .filter(([number]) => Math.abs(number - place.line) <= 4);
    const title = element("p", { class: "code" }, `${position(place)} in ${place.function}`);
    if (!lines.length) return title;
    const indent = Math.min(...lines.filter(([, text]) => text.trim()).map(([, text]) => text.search(/\S/)));
    const code = lines.map(([number, text]) =>
      element("span", { class: number === place.line ? "line held" : "line" },
        element("i", {}, String(number)), `${text.slice(Math.max(indent, 0))}\n`));
    return [title, element("pre", { tabindex: "0", "aria-label": `Source of ${position(place)}` }, element("code", {}, code))];
  }

  stack(stack) {
    if (stack.length < 2) return "";
    const frames = stack.slice(0, FRAMES_SHOWN).map((id) => {
      const place = this.run.place(id);
      return element("li", { class: place.isUsers ? "" : "hint", title: place.file }, `${position(place)} in ${place.function}`);
    });
    return element("details", {}, element("summary", {}, `${count(stack.length, "frame")}, the innermost first`),
      element("ol", { class: "code" }, frames));
  }

  link(step, text) {
    return element("button", { type: "button", class: "link", onclick: () => this.go(step) }, text);
  }

  /** A link to the first step of a task or callback. */
  actorLink(actor, name = this.run.text("actor.name", actor)) {
    const { first, order } = this.run.byActor;
    return first[actor] < first[actor + 1] ? this.link(order[first[actor]], name) : name;
  }

  /* The tooltip */

  showTooltip(target, x, y) {
    if (!target) {
      this.tooltip.hidden = true;
      return;
    }
    this.tooltip.replaceChildren(...tooltipLines(this.run, target).map((line) => element("p", {}, line)));
    this.tooltip.hidden = false;
    const { width, height } = this.tooltip.getBoundingClientRect();
    const [right, bottom] = [document.documentElement.clientWidth, document.documentElement.clientHeight];
    this.tooltip.style.left = `${Math.max(4, Math.min(x + 14, right - width - 8))}px`;
    this.tooltip.style.top = `${y + 18 + height > bottom ? Math.max(4, y - height - 10) : y + 18}px`;
  }

  /* The tables */

  showFindings() {
    const { head, starvations } = this.run;
    const findings = document.getElementById("findings");
    findings.replaceChildren();
    if (starvations.length) this.showStarvations(findings);
    const others = [
      ["Many small steps that kept others waiting", head.congestions],
      ["Long only because the operating system gave no processor: nobody is to blame", head.stalls],
      ["Careless habits", head.lints],
    ];
    for (const [title, items] of others) {
      if (items.length) findings.append(element("h2", {}, title), this.sentences(items));
    }
  }

  sentences(items) {
    return element("ul", { class: "sentences" }, items.map((item) => {
      const show = () => this.go(item.step ?? NONE, item);
      const at = element("button", { type: "button", class: "link", onclick: show }, `at ${moment(item.start, this.run.duration)}`);
      const lines = item.lines.map((line) => element("p", { class: "hint" }, line));
      return element("li", {}, at, `, ${item.sentence}`, lines, element("p", { class: "advice" }, item.advice));
    }));
  }

  showStarvations(findings) {
    const { run } = this;
    const longest = [...run.starvations].sort((one, other) => run.durationOf(other.step) - run.durationOf(one.step));
    const kept = longest.slice(0, ROWS_MAX);
    const head = ["at", "culprit", "coroutine", "place", "held", "cause", "victims", "longest wait"];
    const body = element("tbody");
    const sort = (key) => {
      kept.sort((one, other) => key(one) - key(other));
      body.replaceChildren(...kept.map((starvation) => this.row(starvation)));
    };
    const sorting = { at: (of) => of.step, held: (of) => -run.durationOf(of.step), victims: (of) => -of.count };
    const heads = head.map((name) => {
      const key = sorting[name];
      const button = key && element("button", { type: "button", class: "link", title: `order by ${name}`, onclick: () => sort(key) }, name);
      return element("th", { scope: "col", class: key ? "number" : "" }, button || name);
    });
    sort(sorting.at);
    findings.append(
      element("h2", {}, count(run.starvations.length, "starvation")),
      element("div", { class: "wide" }, element("table", { id: "starvations" }, element("thead", {}, element("tr", {}, heads)), body)),
    );
    if (longest.length > kept.length) {
      findings.append(element("p", { class: "hint" }, `The ${kept.length} longest; ${grouped(longest.length - kept.length)} more are in the picture.`));
    }
  }

  row(starvation) {
    const { run } = this;
    const { step } = starvation;
    const place = placeOf(run, starvation);
    const [victim] = run.victimsOf(starvation, 1);
    const link = victim ? this.link(victim.step, run.nameOf(victim.step)) : "";
    const row = element("tr", { "data-step": step },
      element("td", { class: "number" }, this.link(step, moment(run.start[step], run.duration))),
      element("th", { scope: "row" }, run.nameOf(step)),
      element("td", {}, run.isTask(step) ? run.text("actor.function", run.actor[step]) : ""),
      element("td", { class: "code" }, place ? position(place) : ""),
      element("td", { class: "number" }, precise(run.durationOf(step))),
      element("td", {}, starvation.cause ?? ""),
      element("td", { class: "number" }, grouped(starvation.count)),
      element("td", {}, link, victim ? ` ${short(victim.waited)}` : ""),
    );
    row.addEventListener("click", (event) => event.target.closest("button") || this.go(step));
    return row;
  }

  /** Marks the row of the selected step. */
  mark(step) {
    for (const row of document.querySelectorAll("#starvations tr[data-step]")) {
      row.classList.toggle("selected", Number(row.dataset.step) === step);
    }
  }
}

/** Pairs of a name and what is known, as a list; what is empty is left out. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return element("dl", {}, known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

