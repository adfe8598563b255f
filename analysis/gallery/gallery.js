// The gallery's page: one prompt's videos under one clock, the list of prompts, the table of conditions.
"use strict";
(() => {
  const { columns, conditions, prompts } = GALLERY;
  const $ = (id) => document.getElementById(id);
  const ROW_PX = 48; // height of a prompt in the list
  const FIRST = 6; // conditions shown at first
  const FAILURES = "with failures";

  const state = {
    ...opening(), matching: prompts.map((_, i) => i), content: new Set(),
    frame: 0, playing: false, loop: true, difference: false, speed: 1,
    sort: { column: null, sign: 1 },
  };

  /**
   * The prompt and the conditions to open on, so that the videos differ. The prompt is the one whose conditions resemble
   * the baseline least, by the median. The conditions are the baseline, and some from the least to the most like it.
   */
  function opening() {
    const difference = columns.findIndex((c) => c.group === "Difference");
    const measure = difference >= 0 ? difference : columns.findIndex((c) => c.name === "token_ratio");
    const baseline = conditions.findIndex((c) => c.baseline);
    const likeness = (sample) => { // NaN without a video or a value
      const value = sample?.video ? sample.scores[measure] ?? NaN : NaN;
      return (columns[measure]?.better || 1) * (value === "inf" ? Infinity : value);
    };
    const ranked = (prompt) => prompt.samples
      .map((sample, i) => ({ i, value: conditions[i].reference === baseline && i !== baseline ? likeness(sample) : NaN }))
      .filter((c) => !Number.isNaN(c.value)).sort((a, b) => (a.value === b.value ? a.i - b.i : a.value - b.value));
    const orders = prompts.map((prompt, at) => ({ at, order: ranked(prompt) }));
    const most = orders.reduce((most, { order }) => Math.max(most, order.length), 0);
    const median = ({ order }) => order[order.length >> 1]?.value ?? Infinity;
    const { at, order } = orders.filter(({ order }) => order.length >= most / 2) // others lack too many conditions
      .reduce((best, next) => (median(next) < median(best) ? next : best));
    // conditions with equal values have equal videos, as a rule; an infinite value is the baseline's own video
    const distinct = order.filter((c, k) => Number.isFinite(c.value) && c.value !== order[k - 1]?.value);
    const count = Math.min(FIRST - 1, distinct.length);
    const step = (distinct.length - 1) / Math.max(count - 1, 1);
    const spread = Array.from({ length: count }, (_, k) => distinct[Math.round(k * step)].i);
    const others = conditions.map((_, i) => i); // these fill up
    return { prompt: at, shown: new Set([...new Set([baseline, ...spread, ...others])].slice(0, FIRST)) };
  }

  /** Returns an element. Strings among its children become text, never markup. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }
  const number = (value, digits) => (value === null ? "–" : value === "inf" ? "∞" : value.toFixed(digits));
  const SETTINGS = /^(.+?) \((.*)\)$/; // of a condition's title: the method's name and its settings
  const methods = conditions.map((c) => c.title.match(SETTINGS)?.[1]).filter(Boolean);
  const common = methods.find((name) => methods.filter((other) => other === name).length > methods.length / 2);
  /** "k=5 θ=0.7" for "VGDFR (k=5, θ=0.7)" where room is scarce, if most conditions are of that method. */
  function short(title) {
    const [, method, settings] = title.match(SETTINGS) ?? [];
    return settings && method === common ? settings.replaceAll(", ", " ") : title;
  }
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // ---- the clock: all videos go to one frame together, then play together ----

  let players = []; // { video, fps, frames, ... } of each video shown, and of hidden baselines
  const clock = { rate: 1, frames: 1 }; // the highest frame rate among them, and the frames of the longest at that rate
  let rolling = false; // playing by the browser's own clock
  let settling = null;
  let ticket = 0;
  let timer = 0;
  let due = 0;

  function event(video, ...names) {
    return new Promise((resolve) => {
      const stop = new AbortController();
      for (const name of names) {
        video.addEventListener(name, () => { stop.abort(); resolve(); }, { signal: stop.signal });
      }
    });
  }

  const frameOf = (p) => clamp(Math.floor(((state.frame + 0.5) / clock.rate) * p.fps), 0, p.frames - 1);

  /** Resolves once the video shows this frame, or never will: it is damaged or no longer shown. */
  async function seek(p, frame) {
    const { video } = p;
    if (video.readyState < 2 && !video.error) await event(video, "loadeddata", "error", "emptied");
    if (video.error || !video.hasAttribute("src")) return;
    const time = (frame + 0.5) / p.fps; // the middle of the frame, so that rounding cannot miss it
    if (Math.abs(video.currentTime - time) < 1e-3 && !video.seeking) return;
    video.currentTime = time;
    while (video.seeking && video.hasAttribute("src") && !video.error) await event(video, "seeked", "error", "emptied");
  }

  /** Stops all videos at state.frame. If state.playing, they then play on from there. */
  function settle() {
    ticket += 1;
    rolling = false;
    clearTimeout(timer);
    settling ??= (async () => {
      let seen;
      do {
        seen = ticket;
        for (const p of players) p.video.pause();
        await Promise.all(players.map((p) => seek(p, frameOf(p))));
      } while (seen !== ticket);
      settling = null;
      paint();
      if (state.playing) roll();
    })();
    return settling;
  }

  function roll() {
    const playable = players.filter((p) => !p.video.error);
    if (!playable.length) return setPlaying(false);
    if (state.difference) { // two videos compared must show the same frame: frame by frame, as fast as that goes
      due = Math.max(performance.now(), due + 1000 / (clock.rate * state.speed));
      timer = setTimeout(() => (state.frame >= clock.frames - 1 ? atEnd() : goTo(state.frame + 1)), due - performance.now());
      return;
    }
    rolling = true;
    for (const p of playable) {
      p.video.playbackRate = state.speed;
      if (frameOf(p) < p.frames - 1) p.video.play().catch(() => {}); // pausing at once interrupts it
    }
    const leader = playable.reduce((a, b) => (b.frames / b.fps > a.frames / a.fps ? b : a));
    const tick = () => {
      if (!rolling) return;
      const time = leader.video.currentTime;
      if (leader.video.ended || time >= leader.frames / leader.fps) return atEnd();
      for (const p of playable) if (p !== leader) follow(p, time);
      const frame = clamp(Math.floor(time * clock.rate), 0, clock.frames - 1);
      if (frame !== state.frame) { state.frame = frame; paint(); }
      requestAnimationFrame(tick);
    };
    if (frameOf(leader) >= leader.frames - 1) atEnd();
    else requestAnimationFrame(tick);
  }

  /** Brings a video that has drifted back to the leader's time: gently, or by a jump. */
  function follow(p, time) {
    const { video } = p;
    if (video.seeking || video.paused || time >= p.frames / p.fps) return;
    const ahead = video.currentTime - time;
    if (Math.abs(ahead) > 3 / p.fps) video.currentTime = time;
    video.playbackRate = state.speed * (Math.abs(ahead) < 0.15 / p.fps ? 1 : 1 - clamp(ahead * p.fps * 0.3, -0.3, 0.3));
  }

  function atEnd() {
    if (state.loop) state.frame = 0;
    else { state.frame = clock.frames - 1; setPlaying(false); }
    settle();
  }

  function goTo(frame) {
    state.frame = clamp(frame, 0, clock.frames - 1);
    return settle();
  }

  function step(by) {
    setPlaying(false);
    goTo(state.frame + by);
  }

  function setPlaying(playing) {
    state.playing = playing;
    $("play").textContent = playing ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", playing);
  }

  function togglePlay() {
    setPlaying(!state.playing);
    if (state.playing && state.frame >= clock.frames - 1) state.frame = 0;
    due = performance.now();
    settle();
  }

  function paint() {
    $("frame").max = clock.frames - 1;
    $("frame").value = state.frame;
    $("at").textContent = `frame ${state.frame} / ${clock.frames - 1}  ${(state.frame / clock.rate).toFixed(2)} s`;
    for (const p of players) {
      if (!p.state) continue;
      const frame = frameOf(p);
      const interpolated = p.kept !== null && !p.kept.has(frame);
      p.state.textContent = p.kept === null ? "" : interpolated ? "interpolated" : "kept";
      p.state.classList.toggle("interpolated", interpolated);
      p.playhead.style.left = `${((frame + 0.5) / p.frames) * 100}%`;
      if (state.difference) compare(p);
    }
  }

  /** Draws |video - baseline|. The stylesheet amplifies it, since a page on disk cannot read a video's pixels. */
  function compare(p) {
    const other = p.reference;
    if (!other || p.video.readyState < 2 || other.video.readyState < 2) return;
    const { canvas, video } = p;
    if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
    }
    const pen = canvas.getContext("2d");
    pen.globalCompositeOperation = "copy";
    pen.drawImage(other.video, 0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "difference";
    pen.drawImage(video, 0, 0, canvas.width, canvas.height);
  }

  // ---- the videos of a prompt ----

  function player(condition, sample) {
    const video = el("video", { muted: true, playsinline: true, preload: "auto", tabindex: -1, "aria-hidden": "true" });
    video.muted = true;
    const p = { condition, video, fps: condition.fps, frames: condition.num_frames, kept: null, reference: null };
    if (sample.kept) p.kept = new Set(sample.kept);
    const presented = () => { // a frame may come after the event that says it was sought
      if (!video.hasAttribute("src")) return;
      if (state.difference && !rolling) for (const other of players) if (other === p || other.reference === p) compare(other);
      video.requestVideoFrameCallback(presented);
    };
    video.requestVideoFrameCallback(presented);
    video.src = sample.video;
    return p;
  }

  function timeline(condition, sample) {
    const frames = condition.num_frames;
    const box = el("div", { class: "timeline", title: "frames kept and interpolated; click to go there" });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${frames} 10`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const kept = new Set(sample.kept ?? Array(frames).keys());
    svg.setAttribute("aria-label", `${kept.size} of ${frames} frames kept, the others interpolated`);
    const shapes = new Map(); // a path per look: frames are many
    for (const [start, length, factor] of sample.segments ?? [[0, frames, 1]]) {
      for (let t = start; t < start + length; t++) {
        const look = kept.has(t) ? `f${factor}` : `f${factor} between`;
        const bar = kept.has(t) ? `M${t + 0.1} 0h.8v10h-.8z` : `M${t + 0.1} 5h.8v5h-.8z`;
        shapes.set(look, (shapes.get(look) ?? "") + bar);
      }
    }
    for (const [look, d] of shapes) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", look);
      path.setAttribute("d", d);
      svg.append(path);
    }
    const playhead = el("i");
    box.append(svg, playhead);
    box.addEventListener("click", (e) => {
      const { left, width } = box.getBoundingClientRect();
      const at = clamp(Math.floor(((e.clientX - left) / width) * frames), 0, frames - 1);
      goTo(Math.floor(((at + 0.5) / condition.fps) * clock.rate));
    });
    return { box, playhead };
  }

  function scores(sample) {
    const list = el("dl");
    columns.forEach((column, i) => { // a dash where there is none, so that rows stay in line from video to video
      const value = el("dd", { title: sample.reasons?.[i] ?? null }, number(sample.scores[i], column.digits));
      list.append(el("div", {}, el("dt", {}, column.title), value));
    });
    return list;
  }

  function cell(index, sample) {
    const condition = conditions[index];
    const label = el("span", { class: "state" });
    const screen = el("div", { class: "screen" });
    screen.style.aspectRatio = `${condition.width} / ${condition.height}`;
    const title = el("b", { title: [condition.title, ...condition.notes].join("\n") }, short(condition.title));
    const figure = el("figure", { "data-condition": index, "aria-label": condition.title },
      el("figcaption", {}, title, label), screen);
    if (!sample?.video) {
      screen.append(nothing(sample ? sample.failed : "not made", sample ? sample.reason : "the sweep has not come to it yet"));
      if (sample?.scores) figure.append(scores(sample));
      return { figure, p: null };
    }
    const p = player(condition, sample);
    const { box, playhead } = timeline(condition, sample);
    Object.assign(p, { state: label, playhead, screen, canvas: el("canvas", { "aria-hidden": "true" }) });
    p.video.addEventListener("error", () => {
      if (p.video.hasAttribute("src")) screen.append(nothing("cannot be played", p.video.error?.message || "no reason given"));
    });
    screen.append(p.video, p.canvas);
    figure.append(box, scores(sample));
    return { figure, p };
  }

  const nothing = (what, why) => el("div", { class: "nothing" }, el("b", {}, what), why);

  function render() {
    for (const p of players) { p.video.removeAttribute("src"); p.video.load(); } // gives the decoder back
    const prompt = prompts[state.prompt];
    $("text").textContent = prompt.text;
    $("about").textContent = [prompt.id, `seed ${prompt.seed}`, ...prompt.content].join(" · ");
    const order = [...state.shown].sort((a, b) => a - b);
    const cells = order.map((i) => cell(i, prompt.samples[i]));
    const of = new Map(order.map((i, at) => [i, cells[at].p]));
    const hidden = el("div", { id: "references", "aria-hidden": "true" });
    for (const i of order) {
      const { reference, baseline } = conditions[i];
      const p = of.get(i);
      if (!p || baseline || reference === null || !prompt.samples[reference]?.video) continue;
      if (!of.get(reference)) { // the baseline is needed, though not asked for
        of.set(reference, player(conditions[reference], prompt.samples[reference]));
        hidden.append(of.get(reference).video);
      }
      p.reference = of.get(reference);
      p.screen.classList.add("compared");
    }
    players = [...of.values()].filter(Boolean);
    clock.rate = Math.max(1, ...players.map((p) => p.fps));
    clock.frames = Math.max(1, ...players.map((p) => Math.round((p.frames / p.fps) * clock.rate)));
    state.frame = clamp(state.frame, 0, clock.frames - 1);
    $("videos").replaceChildren(...cells.map((c) => c.figure), hidden);
    resize();
    paint();
    settle();
  }

  /** Shows small videos at whole multiples of their size, so that every pixel is a square. */
  function resize() {
    const width = Math.max(...[...state.shown].map((i) => conditions[i].width), 0) || 64;
    const wanted = Number($("size").value);
    const cellPx = width < 256 ? Math.max(1, Math.round(wanted / width)) * width : wanted * 1.5;
    $("videos").style.setProperty("--cell", `${cellPx}px`);
    for (const figure of $("videos").querySelectorAll("figure")) {
      figure.classList.toggle("enlarged", cellPx > conditions[figure.dataset.condition].width);
    }
  }

  function setDifference(on) {
    state.difference = on;
    $("difference").setAttribute("aria-pressed", on);
    $("gain-label").hidden = !on;
    $("videos").classList.toggle("differ", on);
    $("videos").style.setProperty("--gain", $("gain").value);
    settle();
  }

  function toggleCondition(index) {
    if (!state.shown.delete(index)) state.shown.add(index);
    paintChosen();
    paintTable();
    render();
  }

  function paintChosen() {
    const chip = (text, pressed, onclick, title = null) =>
      el("button", { type: "button", "aria-pressed": pressed, "aria-label": title, title, onclick }, text);
    const all = state.shown.size === conditions.length;
    const focused = [...$("chosen").children].indexOf(document.activeElement);
    $("chosen").replaceChildren(
      ...conditions.map((c, i) => chip(short(c.title), String(state.shown.has(i)), () => toggleCondition(i), c.title)),
      chip(all ? "first only" : "all", null, () => {
        state.shown = new Set(conditions.map((_, i) => i).slice(0, all ? 1 : conditions.length));
        paintChosen();
        paintTable();
        render();
      }));
    $("chosen").children[focused]?.focus();
  }

  // ---- the table of conditions ----

  function paintTable() {
    const { column, sign } = state.sort;
    const order = conditions.map((_, i) => i);
    const value = (i) => (column === "n" ? conditions[i].n : conditions[i].means[column]);
    if (column !== null) {
      order.sort((a, b) => (value(a) === null) - (value(b) === null) || sign * (value(a) - value(b)) || a - b);
    }
    const head = (title, key, better) => {
      const sorted = column === key && key !== null;
      const onclick = () => {
        state.sort = key === null ? { column: null, sign: 1 } : { column: key, sign: sorted ? -sign : better < 0 ? 1 : -1 };
        paintTable();
        [...$("table").querySelectorAll("th button")].find((b) => b.textContent === title).focus();
      };
      const hint = { "-1": "lower is better", 1: "higher is better" }[better] ?? "sort";
      return el("th", { scope: "col", "aria-sort": sorted ? (sign > 0 ? "ascending" : "descending") : null },
        el("button", { type: "button", title: hint, onclick }, title));
    };
    const row = (i) => {
      const c = conditions[i];
      const box = el("input", { type: "checkbox", checked: state.shown.has(i), onchange: () => {
        toggleCondition(i);
        $("table").querySelector(`[data-condition="${i}"] input`).focus();
      } });
      const n = el("td", {}, String(c.n), ...(c.failed ? [" ", el("span", { class: "failed" }, `(${c.failed} failed)`)] : []));
      return el("tr", { "data-condition": i }, el("td", {}, el("label", {}, box, c.title)), n, ...columns.map((column, k) => {
        const text = number(c.means[k], column.digits);
        const title = c.infinite[k] ? `${c.infinite[k]} identical to the baseline, left out` : null;
        return el("td", { title }, c.best[k] ? el("b", {}, text) : text);
      }));
    };
    $("table").replaceChildren(
      el("thead", {}, el("tr", {}, head("Condition", null, 0), head("n", "n", 1), ...columns.map((c, k) => head(c.title, k, c.better)))),
      el("tbody", {}, ...order.map(row)));
  }

  // ---- the list of prompts: only what is in view is in the page ----

  const has = (prompt, what) =>
    what === FAILURES ? prompt.samples.some((s) => s?.failed) : prompt.content.includes(what);

  function filter() {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    state.matching = prompts.flatMap((prompt, i) => {
      const text = `${prompt.text} ${prompt.id}`.toLowerCase();
      const chosen = !state.content.size || [...state.content].some((what) => has(prompt, what));
      return chosen && words.every((word) => text.includes(word)) ? [i] : [];
    });
    $("count").textContent = state.matching.length
      ? `${state.matching.length} of ${prompts.length} prompts` : `no prompt of ${prompts.length} matches`;
    $("prompts").scrollTop = 0;
    if (state.matching.length && !state.matching.includes(state.prompt)) choose(state.matching[0]);
    else reveal();
  }

  function paintList() {
    const list = $("prompts");
    const from = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - 3);
    const to = Math.min(state.matching.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_PX) + 3);
    list.firstElementChild.style.height = `${state.matching.length * ROW_PX}px`;
    const options = [];
    for (let at = from; at < to; at++) {
      const index = state.matching[at];
      const prompt = prompts[index];
      const about = [`${prompt.id}`, prompt.seed ? `seed ${prompt.seed}` : "", ...prompt.content.filter((c) => !prompt.id.endsWith(c))];
      const option = el("div", {
        class: "prompt", role: "option", id: `prompt-${index}`, title: prompt.text, "aria-selected": String(index === state.prompt),
        "aria-posinset": at + 1, "aria-setsize": state.matching.length,
        onclick: () => { choose(index); setListing(false); },
      }, prompt.text, el("small", {}, about.filter(Boolean).join(" · ")));
      option.style.top = `${at * ROW_PX}px`;
      options.push(option);
    }
    list.firstElementChild.replaceChildren(...options);
    const active = `prompt-${state.prompt}`;
    if ($(active)) list.setAttribute("aria-activedescendant", active);
    else list.removeAttribute("aria-activedescendant");
  }

  function reveal() {
    const list = $("prompts");
    const top = state.matching.indexOf(state.prompt) * ROW_PX;
    if (top >= 0) list.scrollTop = clamp(list.scrollTop, top + ROW_PX - list.clientHeight, top);
    paintList();
  }

  function choose(index) {
    if (index !== state.prompt) {
      state.prompt = index;
      render();
    }
    reveal();
  }

  function next(by) {
    const at = state.matching.indexOf(state.prompt);
    if (state.matching.length) choose(state.matching[clamp(at + by, 0, state.matching.length - 1)]);
  }

  function paintContent() {
    const counts = new Map();
    for (const prompt of prompts) for (const what of prompt.content) counts.set(what, (counts.get(what) ?? 0) + 1);
    const all = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const failures = prompts.filter((prompt) => has(prompt, FAILURES)).length;
    if (failures) all.push([FAILURES, failures]);
    $("content").hidden = !all.length;
    $("content").replaceChildren(...all.map(([what, count]) => {
      const chip = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
        if (!state.content.delete(what)) state.content.add(what);
        chip.setAttribute("aria-pressed", state.content.has(what));
        filter();
      } }, `${what} ${count}`);
      return chip;
    }));
  }

  // ---- controls and keys ----

  function toggleLoop() {
    state.loop = !state.loop;
    $("loop").setAttribute("aria-pressed", state.loop);
  }

  function toggleHelp() {
    $("help").hidden = !$("help").hidden;
    $("help-button").setAttribute("aria-expanded", !$("help").hidden);
  }

  /** In a narrow window the list of prompts is shown only if asked for. */
  function setListing(on) {
    document.body.classList.toggle("listing", on);
    $("list-button").setAttribute("aria-expanded", on);
    if (on) reveal();
  }

  function sizeBy(by) {
    $("size").selectedIndex = clamp($("size").selectedIndex + by, 0, $("size").options.length - 1);
    resize();
  }

  const KEYS = {
    " ": togglePlay, ",": () => step(-1), ".": () => step(1), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    Home: () => step(-Infinity), End: () => step(Infinity), j: () => next(1), k: () => next(-1), l: toggleLoop,
    d: () => setDifference(!state.difference), "-": () => sizeBy(-1), "+": () => sizeBy(1), "=": () => sizeBy(1),
    "/": () => { setListing(true); $("find").focus(); }, "?": toggleHelp,
  };

  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const at = e.target;
    if (at === $("find")) {
      if (e.key === "Escape" || e.key === "Enter") at.blur();
      return;
    }
    const own = at.matches("select") || (e.key === " " && at.matches("button, input")) ||
      (at.matches("input[type=range]") && /^(Arrow|Home|End|Page)/.test(e.key));
    if (own) return; // the control's own key
    const inList = at === $("prompts") && { ArrowDown: () => next(1), ArrowUp: () => next(-1) }[e.key];
    const action = inList || KEYS[e.key];
    if (!action) return;
    e.preventDefault();
    action();
  });
  // a control that was clicked gives the keys back to the player
  document.addEventListener("click", (e) => { // the control may have been drawn anew, so not the event's target
    const at = document.activeElement;
    if (e.detail && at?.matches("button, input[type=checkbox]")) at.blur();
  });
  for (const select of document.querySelectorAll("select")) {
    let clicked = false;
    select.addEventListener("pointerdown", () => { clicked = true; });
    select.addEventListener("change", () => { if (clicked) select.blur(); clicked = false; });
  }
  $("play").addEventListener("click", togglePlay);
  $("back").addEventListener("click", () => step(-1));
  $("forward").addEventListener("click", () => step(1));
  $("frame").addEventListener("input", () => goTo(Number($("frame").value)));
  $("speed").addEventListener("change", () => { state.speed = Number($("speed").value); settle(); });
  $("loop").addEventListener("click", toggleLoop);
  $("difference").addEventListener("click", () => setDifference(!state.difference));
  $("gain").addEventListener("change", () => setDifference(state.difference));
  $("size").addEventListener("change", resize);
  $("help-button").addEventListener("click", toggleHelp);
  $("list-button").addEventListener("click", () => setListing(!document.body.classList.contains("listing")));
  $("find").addEventListener("input", filter);
  $("prompts").addEventListener("scroll", () => requestAnimationFrame(paintList));
  window.addEventListener("resize", paintList);

  paintContent();
  paintChosen();
  paintTable();
  filter();
  render();
  goTo(clock.frames >> 1); // first frames are more alike than others
})();
