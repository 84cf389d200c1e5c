// The space-time diagram: which rows are shown, where, and the moment that is looked at.

const started = performance.now();
const $ = (id) => document.getElementById(id);
const ROW = 22, TIME_WIDTH = 104, BANDS = 5, WORDS = 420;
let BAND = 12, LANE = 30; // narrower where there are many lanes
const ROLE_ORDER = ["producer", "other", "broker", "consumer", "system", "controller", "auditor"];
const [ARRIVED, LOST, UNHEARD, REPEATED, GONE, STARTED, CRASHED, POWER, PAUSED, APP_PAUSED, RESUMED, FAULT, HEALED, PHASE, STUCK, CLIENT, INSIDE, SYSTEM] = Array.from({ length: 18 }, (_, i) => i);
const BAND_CLASS = ["down", "paused", "paused", "leads", "epoch", "generation", "txn"];
const isMessage = (kind) => kind <= GONE;

const filter = { level: D.level, actors: new Set(), partition: "", txn: "", group: "", record: "" };
let items = new Int32Array(0);    // rows, or -1 - (row behind a fold)
let places = new Int32Array(0);   // of each row: the item at it, or the last one before it
let crossing = [];                // per block of items: the messages that cross it
let lanes = new Map();            // actor -> { x, bands }
let width = 0;
let chosen = -1;
let showAll = new Set();
let opened = new Map();

const BLOCK = 32;

// ---- which rows ----

const tagOf = (kind, name) => R.tags.indexOf(kind + name);

function passes() {
  const wanted = [];
  for (const [kind, name] of [["p", filter.partition], ["t", filter.txn], ["g", filter.group], ["r", filter.record]]) {
    if (name) wanted.push(tagOf(kind, name));
  }
  const lists = R.lists.map((list) => wanted.every((tag) => list.includes(tag)));
  const { actors, level } = filter;
  return (i) => {
    const always = R.r[i] === 0 && !isMessage(R.k[i]) && R.k[i] !== CLIENT && R.k[i] !== INSIDE && R.k[i] !== SYSTEM;
    if (R.r[i] > level) return false;
    if (actors.size && !actors.has(R.a[i]) && !actors.has(R.p[i]) && !(always && (R.k[i] === FAULT || R.k[i] === PHASE))) return false;
    return !wanted.length || always || lists[R.g[i]];
  };
}

function select() {
  const pass = passes();
  const list = [];
  places = new Int32Array(ROWS);
  let last = -1;
  for (let i = 0; i < ROWS; i++) {
    if (pass(i)) {
      if (last >= 0 && TIME[i] - TIME[last] > D.quiet) list.push(-1 - i);
      list.push(i);
      last = i;
    }
    places[i] = Math.max(0, list.length - 1);
  }
  items = Int32Array.from(list);
  crossing = Array.from({ length: Math.ceil(items.length / BLOCK) }, () => []);
  for (let at = 0; at < items.length; at++) {
    const i = items[at];
    if (i < 0 || !isMessage(R.k[i]) || R.p[i] < 0) continue;
    for (let block = Math.floor(sentAt(i, at) / BLOCK); block <= Math.floor(at / BLOCK); block++) crossing[block].push(at);
  }
  layOut();
}

// Where a message was sent, in rows: behind the last row of the step that sent it.
function sentAt(i, at) {
  if (R.f[i] === 0) return at;
  const from = i - R.f[i];
  if (from < 0) return 0;
  return Math.min(places[from] + (items[places[from]] === from ? 0 : 0.5), at);
}

function layOut() {
  const seen = new Set();
  for (const i of items) {
    if (i < 0) continue;
    if (R.k[i] !== FAULT && R.k[i] !== HEALED && R.k[i] !== PHASE) seen.add(R.a[i]);
    if (R.p[i] >= 0) seen.add(R.p[i]);
  }
  for (const actor of filter.actors) seen.add(actor);
  const actors = [...seen].sort((a, b) => ROLE_ORDER.indexOf(D.actors[a][1]) - ROLE_ORDER.indexOf(D.actors[b][1]) || a - b);
  const all = new Map(actors.map((actor) => [actor, bandsOf(actor)]));
  [LANE, BAND] = [30, 12];
  let slots = 0;
  for (const bands of all.values()) slots += bands.width;
  const room = $("rows").clientWidth - TIME_WIDTH - WORDS;
  const needed = all.size * LANE + slots * BAND;
  if (needed > room) [LANE, BAND] = [Math.max(18, LANE * room / needed), Math.max(6, BAND * room / needed)];
  lanes = new Map();
  let x = TIME_WIDTH + 6;
  for (const [actor, bands] of all) {
    lanes.set(actor, { x: x + 14, bands });
    x += LANE + bands.width * BAND;
  }
  width = x + 8;
  $("space").style.minWidth = width + WORDS / 2 + "px";
  heads();
}

const INTERNAL = new Set(D.parts.filter((it) => it[1]).map((it) => it[0]));

// What is drawn along a lane, each stretch in a slot of its own while it lasts.
function bandsOf(actor) {
  const list = [];
  const ends = [];
  let used = 0;
  for (const [who, kind, from, to, text] of D.spans) {
    if (who !== actor || kind < 3) continue;
    const what = D.texts[text];
    if (kind === 3) {
      const name = what.slice(0, what.lastIndexOf(" "));
      if (filter.partition ? name !== filter.partition : INTERNAL.has(name)) continue;
    }
    list.push({ kind, from, to: to < 0 ? ROWS : to, what });
  }
  list.sort((a, b) => a.from - b.from);
  for (const it of list) {
    let slot = ends.findIndex((end) => end <= it.from);
    if (slot < 0) slot = ends.length;
    ends[slot] = it.to;
    it.slot = slot;
    if (slot < BANDS) used = Math.max(used, slot + 1);
  }
  const state = D.spans.filter((it) => it[0] === actor && it[1] < 3).map(([, kind, from, to, text]) => ({ kind, from, to: to < 0 ? ROWS : to, what: D.texts[text] }));
  return { list: list.filter((it) => it.slot < BANDS), width: used, state };
}

function heads() {
  let longest = 0;
  let out = "<span style=\"left:12px\">virtual time</span>";
  for (const [actor, { x }] of lanes) {
    const [name, role] = D.actors[actor];
    longest = Math.max(longest, name.length);
    out += `<button type="button" data-actor="${actor}" style="left:${x - 7}px" aria-pressed="${filter.actors.has(actor)}" title="${esc(name)} (${role}): filter by it">${esc(name)}</button>`;
  }
  $("heads").innerHTML = out;
  $("heads").style.height = Math.min(Math.max(longest * 7.4 + 14, 60), 190) + "px";
}

// ---- drawing ----

const placeOf = (row) => places[Math.min(row, ROWS - 1)] || 0;
const middle = (at) => at * ROW + ROW / 2;

function draw(from, to) {
  const y = (at) => middle(at) - from * ROW;
  const parts = [], texts = [];
  const height = (to - from) * ROW;
  for (const [actor, lane] of lanes) drawLane(parts, texts, actor, lane, from, to);
  for (let at = from; at < to; at++) {
    const i = items[at];
    if (i < 0) {
      const top = y(at);
      parts.push(`<rect x="${TIME_WIDTH + 6}" y="${top - 7}" width="${width - TIME_WIDTH - 8}" height="14" fill="var(--ground)"/>`);
      for (const edge of [-7, 7]) parts.push(`<path class="tear" d="${tear(top + edge)}"/>`);
    } else {
      drawMark(parts, i, y(at));
    }
  }
  const drawn = new Set();
  for (let block = Math.floor(from / BLOCK); block <= Math.floor((to - 1) / BLOCK) && block < crossing.length; block++) {
    for (const at of crossing[block]) {
      if (drawn.has(at)) continue;
      drawn.add(at);
      drawMessage(parts, items[at], y(sentAt(items[at], at)), y(at), height);
    }
  }
  return `<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2" height="5" fill="var(--pause)"/></pattern></defs>` + parts.join("") + texts.join("");
}

function tear(y) {
  let d = `M${TIME_WIDTH + 6} ${y}`;
  for (let x = TIME_WIDTH + 6, up = true; x < width - 8; x += 8, up = !up) d += `l8 ${up ? -3 : 3}`;
  return d;
}

function drawLane(parts, texts, actor, { x, bands }, from, to) {
  const top = (row) => (placeOf(row) - from) * ROW + ROW / 2;
  const height = (to - from) * ROW;
  const clip = (it) => [Math.max(top(it.from), 0), it.to >= ROWS ? height : Math.min(top(it.to), height)];
  let down = bands.state.filter((it) => it.kind === 0).map(clip).filter(([a, b]) => b > a).sort((a, b) => a[0] - b[0]);
  let start = 0;
  for (const [a, b] of down) {
    if (a > start) parts.push(`<line class="lane" x1="${x}" x2="${x}" y1="${start}" y2="${a}"/>`);
    parts.push(`<line class="lane off" x1="${x}" x2="${x}" y1="${a}" y2="${b}"/>`);
    start = b;
  }
  if (start < height) parts.push(`<line class="lane" x1="${x}" x2="${x}" y1="${start}" y2="${height}"/>`);
  for (const it of bands.state) {
    const [a, b] = clip(it);
    if (b <= a) continue;
    if (it.kind > 0) parts.push(`<rect class="band paused" x="${x - 4}" y="${a}" width="8" height="${b - a}"/>`);
    if (b - a > 60) label(texts, x - 7, a, it.what, BAND_CLASS[it.kind]);
  }
  for (const it of bands.list) {
    const [a, b] = clip(it);
    if (b <= a && !(it.from >= from && top(it.from) <= height)) continue;
    const left = x + 9 + it.slot * BAND;
    const kind = BAND_CLASS[it.kind];
    parts.push(`<rect class="band ${kind}" x="${left.toFixed(1)}" y="${a}" width="2.5" height="${Math.max(b - a, 3)}"><title>${esc(it.what)}</title></rect>`);
    if (BAND > 9 && b - a > it.what.length * 5 + 8) label(texts, left + 3.5, a, it.what, kind);
  }
}

const label = (parts, x, y, text, kind) => parts.push(`<text class="${kind}" transform="translate(${x} ${y + 4}) rotate(90)" dy="-0.5">${esc(text)}</text>`);

function drawMark(parts, i, y) {
  const kind = R.k[i];
  const lane = lanes.get(R.a[i]);
  if (kind === FAULT || kind === HEALED || kind === PHASE) {
    const style = kind === FAULT ? "" : kind === HEALED ? " healed" : " phase";
    parts.push(`<line class="strike${style}" x1="${TIME_WIDTH + 4}" x2="${width - 8}" y1="${y}" y2="${y}"/>`);
    if (kind === FAULT) parts.push(`<path class="mark" d="M${TIME_WIDTH + 12} ${y - 8}l-4 9h4l-2 7 7-10h-4l3-6z"/>`);
    return;
  }
  if (!lane || isMessage(kind)) return;
  const x = lane.x;
  const proof = PROOF.has(i);
  if (kind === CRASHED || kind === POWER) parts.push(`<path class="cross" d="M${x - 5} ${y - 5}l10 10m0 -10l-10 10"/>`);
  else if (kind === STUCK) parts.push(`<path class="mark" d="M${x} ${y - 7}l7 13h-14z"/>`);
  else if (kind === STARTED || kind === RESUMED) parts.push(`<path class="up" d="M${x - 5} ${y - 4}h10l-5 8z"/>`);
  else if (kind === PAUSED || kind === APP_PAUSED) parts.push(`<path class="mark" d="M${x - 5} ${y - 5}h3.5v10h-3.5zm6.5 0h3.5v10h-3.5z"/>`);
  else {
    const style = proof ? "proof" : kind === CLIENT ? "client" : kind === SYSTEM ? "system" : "inside";
    parts.push(kind === SYSTEM ? `<rect class="dot ${style}" x="${x - 4}" y="${y - 4}" width="8" height="8"/>` : `<circle class="dot ${style}" cx="${x}" cy="${y}" r="${kind === INSIDE ? 3 : 4}"/>`);
  }
  if (proof) parts.push(`<circle class="ring" cx="${x}" cy="${y}" r="8"/>`);
}

// An arrow from where a message was sent to where it arrived; one that never does is broken.
function drawMessage(parts, i, y1, y2, height) {
  const a = lanes.get(R.a[i]), b = lanes.get(R.p[i]);
  if (!a || !b) return;
  const lost = R.k[i] === LOST || R.k[i] === UNHEARD || R.k[i] === GONE;
  const strong = i === chosen ? " strong" : R.g[i] ? " data" : "";
  let x1 = a.x, x2 = b.x;
  if (a === b) { x2 = x1 + 10; }
  if (lost) { x2 = x1 + (x2 - x1) * 0.72; }
  // Far outside of the window an arrow is cut, not stretched.
  const cutTop = y1 < -height ? (-height - y1) / (y2 - y1 || 1) : 0;
  if (cutTop > 0 && cutTop < 1) { x1 += (x2 - x1) * cutTop; y1 = -height; }
  parts.push(`<line class="wire${lost ? " lost" : strong}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`);
  if (lost) {
    parts.push(`<path class="cross" d="M${x2 - 4} ${y2 - 4}l8 8m0 -8l-8 8"/>`);
    return;
  }
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
  const [bx, by] = [x2 - 7 * dx, y2 - 7 * dy];
  parts.push(`<polygon class="head${strong}" points="${x2},${y2} ${bx - 3 * dy},${by + 3 * dx} ${bx + 3 * dy},${by - 3 * dx}"/>`);
  if (R.k[i] === REPEATED) parts.push(`<circle class="ring" cx="${x2}" cy="${y2}" r="6"/>`);
}

const rowClass = (i) => {
  const kind = R.k[i];
  const what = kind === FAULT || kind === STUCK || kind === CRASHED || kind === POWER ? " fault" : kind >= STARTED && kind <= PHASE ? " world" : kind === INSIDE ? " inside" : "";
  return what + (PROOF.has(i) ? " proof" : "") + (i === chosen ? " chosen" : "");
};

function words(i) {
  const kind = R.k[i];
  if (kind === FAULT || kind === HEALED || kind === PHASE) return esc(D.texts[R.x[i]]);
  const who = isMessage(kind) && R.p[i] >= 0 ? `${esc(actorName(R.a[i]))} \u2192 ${esc(actorName(R.p[i]))}` : `<b>${esc(actorName(R.a[i]))}</b>`;
  return `${who} ${esc(D.texts[R.x[i]])}`;
}

let drawnFrom = -1, drawnTo = -1;

function paint(force) {
  const view = $("rows");
  const first = Math.floor(view.scrollTop / ROW);
  const count = Math.ceil(view.clientHeight / ROW);
  if (!force && first >= drawnFrom && first + count <= drawnTo) return;
  const from = Math.max(0, first - count);
  const to = Math.min(items.length, first + 2 * count + 1);
  drawnFrom = from;
  drawnTo = to === items.length ? Infinity : to;
  const svg = $("lanes");
  svg.setAttribute("width", width);
  svg.setAttribute("height", Math.max(to - from, 0) * ROW);
  svg.style.top = from * ROW + "px";
  svg.innerHTML = to > from ? draw(from, to) : "";
  let out = "";
  for (let at = from; at < to; at++) {
    const i = items[at];
    const top = `top:${at * ROW}px`;
    if (i < 0) {
      const row = -1 - i;
      const before = items[at - 1];
      out += `<div class="row fold" style="${top}" role="presentation"><time></time><span class="what" style="margin-left:${width - TIME_WIDTH}px">${span(TIME[row] - TIME[before])} later (virtual)</span></div>`;
    } else {
      out += `<div class="row${rowClass(i)}" id="row-${i}" data-row="${i}" role="option" aria-selected="${i === chosen}" style="${top}"><time>${stamp(TIME[i])}</time><span class="what" style="margin-left:${width - TIME_WIDTH}px" title="${esc(D.texts[R.x[i]])}">${PROOF.has(i) ? "&#9873; " : ""}${words(i)}</span></div>`;
    }
  }
  $("labels").innerHTML = out;
}

// ---- the moment ----

function nearest(row) {
  if (!items.length) return -1;
  let at = placeOf(Math.max(row, 0));
  if (items[at] < 0) at = Math.min(at + 1, items.length - 1);
  return at;
}

function choose(at, scroll) {
  if (at < 0 || at >= items.length) return;
  chosen = items[at] < 0 ? -1 - items[at] : items[at];
  if (scroll) {
    const view = $("rows");
    const top = placeOf(chosen) * ROW;
    if (top < view.scrollTop + ROW || top > view.scrollTop + view.clientHeight - 2 * ROW) view.scrollTop = top - view.clientHeight / 2;
  }
  $("rows").setAttribute("aria-activedescendant", "row-" + chosen);
  later();
}

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; refresh(); });
}

function refresh() {
  paint(true);
  const at = nearest(chosen);
  $("slider").max = Math.max(items.length - 1, 0);
  $("slider").value = Math.max(at, 0);
  const now = chosen < 0 ? "nothing to show" : `${stamp(TIME[chosen])} (virtual), row ${grouped(chosen + 1)} of ${grouped(ROWS)}`;
  $("slider").setAttribute("aria-valuetext", now);
  $("now").textContent = now;
  if (chosen >= 0) { details(); state(); }
  remember();
}

function details() {
  const i = chosen;
  const rows = [["what", esc(D.texts[R.x[i]])], ["time", `${stamp(TIME[i])} (virtual)`]];
  const message = isMessage(R.k[i]) && R.p[i] >= 0;
  rows.push([message ? "from" : "who", esc(actorName(R.a[i]))]);
  if (message) rows.push(["to", esc(actorName(R.p[i]))]);
  if (R.d[i] >= 0) {
    const sent = i - R.f[i];
    const link = sent >= 0 ? ` <button type="button" data-to="${sent}">go there</button>` : "";
    rows.push(["sent", `${stamp(TIME[i] - R.d[i])}, ${span(R.d[i])} earlier${link}`]);
  }
  if (PROOF.has(i)) rows.push(["proves", PROOF.get(i).map((n) => `<b class="bad">${esc(D.anomalies[n])}</b>`).join(", ")]);
  const about = R.lists[R.g[i]].map((tag) => R.tags[tag]);
  const kinds = { p: "partitions", t: "transactions", g: "groups", r: "records" };
  for (const [kind, title] of Object.entries(kinds)) {
    const own = about.filter((tag) => tag[0] === kind).map((tag) => tag.slice(1));
    if (!own.length) continue;
    const more = own.length > 12 ? ` and ${own.length - 12} more` : "";
    rows.push([title, own.slice(0, 12).map((name) => `<button type="button" data-filter="${kind}" data-name="${esc(name)}" title="Show only what is about it">${esc(name)}</button>`).join("") + more]);
  }
  rows.push(["step", `${STEP[i]}${R.e[i] >= 0 ? `, event ${R.e[i]}` : ""}`]);
  $("details").innerHTML = `<dl>${rows.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("")}</dl>`;
}

function state() {
  const at = nearest(chosen);
  let before = at - 1;
  while (before >= 0 && items[before] < 0) before--;
  const since = before >= 0 ? items[before] : -1;
  const s = stateAt(chosen);
  const now = (key) => (s.touched.get(key) ?? -1) > since;
  const logs = [], internal = [];
  D.parts.forEach(([name, hidden], part) => {
    if (filter.partition && filter.partition !== name) return;
    const about = R.lists[R.g[chosen]].some((tag) => R.tags[tag] === "p" + name);
    const open = opened.has(part) ? opened.get(part) : about || filter.partition === name;
    (hidden && !filter.partition ? internal : logs).push(logBlock(s, part, open, showAll.has(part), now("log" + part)));
  });
  const inner = internal.length ? `<h4>Internal topics</h4>${internal.join("")}` : "";
  $("at").innerHTML = `<p class="faint">&#9679; or a bold edge: changed since the row before.</p>${logs.length ? `<h4>Logs</h4>${logs.join("")}` : ""}`
    + txnBlock(s, now) + groupBlock(s, now) + systemBlock(s, now) + actorBlock(s, now) + inner;
}

// ---- controls ----

function options(id, names, all) {
  $(id).innerHTML = `<option value="">${all}</option>` + names.map((name) => `<option>${esc(name)}</option>`).join("");
  $(id).parentElement.hidden = !names.length;
}

const LEVELS = ["", "what matters", "what happens to data", "everything"];

function controls() {
  const count = [0, 0, 0, 0];
  for (const rank of R.r) for (let level = Math.max(rank, 1); level <= 3; level++) count[level]++;
  $("level").innerHTML = [1, 2, 3].map((level) => `<option value="${level}">${LEVELS[level]} (${grouped(count[level])})</option>`).join("");
  const named = (kind) => R.tags.filter((tag) => tag[0] === kind).map((tag) => tag.slice(1));
  const byNumber = new Intl.Collator("en", { numeric: true }).compare;
  options("by-actor", D.actors.map((it) => it[0]), "all");
  options("by-partition", named("p").sort(byNumber), "all");
  options("by-txn", named("t").sort(byNumber), "all");
  options("by-group", named("g").sort(byNumber), "all");
  $("records").innerHTML = named("r").sort(byNumber).slice(0, 1000).map((name) => `<option value="${esc(name)}"></option>`).join("");
  $("legend").innerHTML = [
    ['<circle class="dot client" cx="7" cy="7" r="4"/>', "what a client did or saw"],
    ['<circle class="dot inside" cx="7" cy="7" r="3"/>', "what happens inside"],
    ['<rect class="dot system" x="3" y="3" width="8" height="8"/>', "an external system"],
    ['<circle class="dot proof" cx="7" cy="7" r="4"/><circle class="ring" cx="7" cy="7" r="7"/>', "&#9873; proves an anomaly"],
    ['<line class="wire data" x1="0" y1="7" x2="14" y2="7"/><path class="head data" d="M14 7l-6 -3v6z"/>', "a message about data"],
    ['<line class="wire lost" x1="0" y1="7" x2="10" y2="7"/><path class="cross" d="M8 3l6 8m0 -8l-6 8"/>', "lost"],
    ['<path class="cross" d="M2 2l10 10m0 -10l-10 10"/>', "crash"],
    ['<path class="mark" d="M3 2h3v10h-3zm5 0h3v10h-3z"/>', "pause"],
    ['<path class="up" d="M2 3h10l-5 8z"/>', "starts, goes on"],
    ['<path class="mark" d="M8 -1l-4 9h4l-2 7 7-10h-4l3-6z"/>', "fault"],
    ['<rect class="band leads" x="5" y="0" width="3" height="14"/>', "leads (with epoch)"],
    ['<rect class="band epoch" x="5" y="0" width="3" height="14"/>', "producer epoch"],
    ['<rect class="band generation" x="5" y="0" width="3" height="14"/>', "generation"],
    ['<rect class="band txn" x="5" y="0" width="3" height="14"/>', "transaction"],
  ].map(([mark, text]) => `<span><svg width="14" height="14">${mark}</svg>${text}</span>`).join("");
}

function apply(keep) {
  const old = chosen;
  select();
  $("level").value = String(filter.level);
  $("by-actor").value = filter.actors.size === 1 ? actorName([...filter.actors][0]) : "";
  $("by-partition").value = filter.partition;
  $("by-txn").value = filter.txn;
  $("by-group").value = filter.group;
  $("by-record").value = filter.record;
  const shown = items.reduce((n, i) => n + (i >= 0 ? 1 : 0), 0);
  $("count").textContent = `${grouped(shown)} rows shown` + (filter.actors.size > 1 ? ` of ${[...filter.actors].map(actorName).join(", ")}` : "");
  $("space").style.height = items.length * ROW + "px";
  root.dataset.shown = String(shown);
  drawnFrom = -1;
  choose(nearest(keep ? old : firstRow()), true);
  if (!items.length) { chosen = -1; later(); }
}

// What the heaviest anomaly begins with, or the first fault.
const firstRow = () => D.witness.find((it) => it[1].includes(0))?.[0] ?? items.find((i) => i >= 0 && R.k[i] === FAULT) ?? 0;

function go(where) {
  const at = nearest(chosen);
  const step = (by) => {
    let next = Math.min(Math.max(at + by, 0), items.length - 1);
    if (items[next] < 0) next += by > 0 ? 1 : -1;
    return next;
  };
  const proofs = D.witness.map((it) => it[0]);
  if (where === "first") choose(0, true);
  else if (where === "last") choose(items.length - 1, true);
  else if (where === "back") choose(step(-1), true);
  else if (where === "on") choose(step(1), true);
  else if (where === "page-back") choose(step(-20), true);
  else if (where === "page-on") choose(step(20), true);
  else if (proofs.length) {
    const next = where === "witness-on" ? proofs.find((row) => row > chosen) : proofs.findLast((row) => row < chosen);
    show(next ?? (where === "witness-on" ? proofs[0] : proofs[proofs.length - 1]));
  }
}

// Chooses a row, whatever is filtered.
function show(row) {
  if (items[placeOf(row)] !== row) {
    Object.assign(filter, { actors: new Set(), partition: "", txn: "", group: "", record: "" });
    filter.level = Math.max(filter.level, R.r[row], 1);
    chosen = row;
    apply(true);
  } else {
    choose(placeOf(row), true);
  }
}

const KEYS = { ArrowUp: "back", ArrowDown: "on", ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last", PageUp: "page-back", PageDown: "page-on", n: "witness-on", p: "witness-back" };

function listen() {
  $("rows").addEventListener("scroll", () => {
    $("heads").scrollLeft = $("rows").scrollLeft;
    requestAnimationFrame(() => paint(false));
  }, { passive: true });
  new ResizeObserver(() => { layOut(); paint(true); }).observe($("rows")); // a new width moves the lanes
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]");
    if (row) choose(placeOf(Number(row.dataset.row)), false);
  });
  addEventListener("keydown", (event) => {
    const field = event.target.closest && event.target.closest("input, select, textarea");
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target.closest && event.target.closest("#diagram");
    const where = KEYS[event.key];
    // Outside of the diagram arrows scroll the page, as everywhere.
    if (!where || (!inside && event.key.length > 1)) return;
    event.preventDefault();
    go(where);
  });
  $("slider").addEventListener("input", () => choose(Number($("slider").value), true));
  $("level").addEventListener("change", () => { filter.level = Number($("level").value); apply(true); });
  $("by-actor").addEventListener("change", () => {
    const actor = D.actors.findIndex((it) => it[0] === $("by-actor").value);
    filter.actors = new Set(actor < 0 ? [] : [actor]);
    widen();
  });
  for (const [id, key] of [["by-partition", "partition"], ["by-txn", "txn"], ["by-group", "group"], ["by-record", "record"]]) {
    $(id).addEventListener("change", () => { filter[key] = $(id).value.trim(); widen(); });
  }
  $("clear").addEventListener("click", () => {
    Object.assign(filter, { actors: new Set(), partition: "", txn: "", group: "", record: "" });
    apply(true);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { go: where, to, filter: kind, name, actor, all, anomaly, step } = button.dataset;
    if (where) go(where);
    else if (to !== undefined) show(Number(to));
    else if (kind) { filter[{ p: "partition", t: "txn", g: "group", r: "record" }[kind]] = name; widen(); }
    else if (actor !== undefined) {
      const id = Number(actor);
      if (!filter.actors.delete(id)) filter.actors.add(id);
      widen();
    } else if (all) { showAll.add(Number(button.closest("[data-log]").dataset.log)); state(); }
    else if (anomaly !== undefined) reveal(D.witness.find((it) => it[1].includes(Number(anomaly)))?.[0]);
    else if (step !== undefined) reveal(rowOfStep(Number(step)));
    else if (button.id === "copy") copy(button);
  });
  $("at").addEventListener("click", (event) => {
    const head = event.target.closest("summary");
    if (!head) return;
    event.preventDefault();
    const block = head.parentElement;
    opened.set(Number(block.dataset.log), !block.open);
    state();
  });
  addEventListener("hashchange", () => { if (location.hash !== written) { recall(); } });
  addEventListener("beforeprint", paper);
}

function reveal(row) {
  if (row === undefined || row < 0) return;
  show(row);
  $("diagram").scrollIntoView({ block: "start" });
  $("rows").focus({ preventScroll: true });
}

// Somebody who asks for one thing wants all that happens to it.
function widen() {
  if (filter.level === 1 && (filter.actors.size || filter.partition || filter.txn || filter.group || filter.record)) filter.level = 2;
  apply(true);
}

function copy(button) {
  const done = () => { button.textContent = "Copied"; };
  if (navigator.clipboard) navigator.clipboard.writeText($("replay").textContent).then(done, () => selectText());
  else selectText();
}

function selectText() {
  getSelection().selectAllChildren($("replay"));
}

// ---- the address: what is shown, to be passed on ----

let written = "";

function remember() {
  const parts = [];
  if (filter.level !== D.level) parts.push("level=" + filter.level);
  if (filter.actors.size) parts.push("actor=" + [...filter.actors].map((it) => encodeURIComponent(actorName(it))).join(","));
  for (const key of ["partition", "txn", "group", "record"]) if (filter[key]) parts.push(key + "=" + encodeURIComponent(filter[key]));
  if (chosen >= 0) parts.push("row=" + chosen);
  written = "#" + parts.join("&");
  try { history.replaceState(null, "", written); } catch { /* a page from disk may not */ }
  root.dataset.row = String(chosen);
  root.dataset.level = String(filter.level);
  root.dataset.ready = "1";
}

function rowOfStep(step) {
  let row = STEP.findIndex((it) => it >= step);
  if (row < 0) row = ROWS - 1;
  return row;
}

function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const level = Number(wanted.get("level"));
  filter.level = level >= 1 && level <= 3 ? level : D.level;
  const names = (wanted.get("actor") || "").split(",");
  filter.actors = new Set(D.actors.flatMap((it, id) => (names.includes(it[0]) ? [id] : [])));
  for (const key of ["partition", "txn", "group", "record"]) filter[key] = wanted.get(key) || "";
  if (!level && (filter.actors.size || filter.partition || filter.txn || filter.group || filter.record)) filter.level = Math.max(2, D.level);
  let row = -1;
  if (wanted.has("row")) row = Number(wanted.get("row"));
  else if (wanted.has("step")) row = rowOfStep(Number(wanted.get("step")));
  else if (wanted.has("event")) row = R.e.findIndex((it) => it >= Number(wanted.get("event")));
  else if (wanted.has("time")) row = TIME.findIndex((it) => it >= parseFloat(wanted.get("time")) * 1e9);
  chosen = Number.isInteger(row) && row >= 0 && row < ROWS ? row : -1;
  apply(chosen >= 0);
}

// ---- paper: what is shown now, as one drawing ----

const PAPER = 120;

function paper() {
  let sheet = $("paper");
  if (!sheet) {
    sheet = document.createElement("div");
    sheet.id = "paper";
    $("diagram").append(sheet);
  }
  const at = nearest(chosen);
  const from = Math.max(0, Math.min(at - PAPER / 2, items.length - PAPER));
  const to = Math.min(items.length, from + PAPER);
  const names = [...lanes].map(([actor, { x }]) => `<text transform="translate(${x + 3} -6) rotate(-90)">${esc(actorName(actor))}</text>`).join("");
  let texts = "";
  for (let n = from; n < to; n++) {
    const i = items[n];
    const y = (n - from) * ROW + ROW / 2 + 4;
    if (i < 0) texts += `<text x="${width}" y="${y}">${span(TIME[-1 - i] - TIME[items[n - 1]])} later</text>`;
    else texts += `<text x="${TIME_WIDTH - 8}" y="${y}" text-anchor="end">${stamp(TIME[i])}</text><text x="${width}" y="${y}">${PROOF.has(i) ? "\u2691 " : ""}${words(i).replace(/<\/?b>/g, "").slice(0, 110)}</text>`;
  }
  const high = 150;
  sheet.innerHTML = `<svg viewBox="0 ${-high} ${width + 560} ${(to - from) * ROW + high}" role="img" aria-label="Space-time diagram">${names}${draw(from, to)}${texts}</svg>`;
}

$("diagram").hidden = false;
root.classList.add("scripted");
controls();
listen();
recall();
// Nobody waits for a frame that a hidden window never draws.
refresh();
root.dataset.ms = (performance.now() - started).toFixed(0);
root.dataset.opened = performance.now().toFixed(0);
