"use strict";
// What the page knows, and what every log, coordinator and client holds at a chosen row.

const root = document.documentElement;
root.dataset.errors = "0";
addEventListener("error", (event) => {
  root.dataset.errors = String(Number(root.dataset.errors) + 1);
  root.dataset.error = event.message;
});

const D = JSON.parse(document.getElementById("run-data").textContent);
const R = D.rows;
const ROWS = R.k.length;

// Times and steps come as distances.
const TIME = new Float64Array(ROWS);
const STEP = new Uint32Array(ROWS);
for (let i = 0, time = 0, step = 0; i < ROWS; i++) {
  TIME[i] = time += R.t[i];
  STEP[i] = step += R.s[i];
}
const PROOF = new Map(D.witness);

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const esc = (text) => String(text).replace(/[&<>"']/g, (c) => ESCAPES[c]);
const actorName = (actor) => (D.actors[actor] || ["?"])[0];
const stamp = (ns) => (ns / 1e9).toFixed(6) + "s";
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
function span(ns) {
  if (ns < 1e3) return ns + " ns";
  if (ns < 1e6) return (ns / 1e3).toFixed(0) + " us";
  if (ns < 1e9) return (ns / 1e6).toFixed(ns < 1e8 ? 1 : 0) + " ms";
  if (ns < 12e10) return (ns / 1e9).toFixed(2) + " s";
  return (ns / 6e10).toFixed(1) + " min";
}

// ---- the state, as a function of the row ----

const UP = 0, DOWN = 1;
const STATUS = ["up", "down", "paused", "application paused"];

function fresh() {
  return {
    row: -1, op: 0,
    logs: D.parts.map(() => ({ replicas: new Map(), leader: -1, epoch: -1, isr: [], unclean: 0, hw: 0, lso: null })),
    txns: new Map(), groups: new Map(), positions: new Map(), systems: new Map(), actors: new Map(),
    touched: new Map(),
  };
}

const replica = (log, broker) => {
  let it = log.replicas.get(broker);
  if (!it) log.replicas.set(broker, it = { batches: [], end: 0, flushed: 0 });
  return it;
};
const group = (state, id) => {
  let it = state.groups.get(id);
  if (!it) state.groups.set(id, it = { generation: -1, members: new Map(), committed: new Map(), pending: new Map(), why: -1, coordinator: -1 });
  return it;
};
const client = (state, id) => {
  let it = state.actors.get(id);
  if (!it) state.actors.set(id, it = { status: UP, pid: -1, epoch: -1, txn: -1, group: -1, generation: -1, owned: [] });
  return it;
};
const system = (state, id) => {
  let it = state.systems.get(id);
  if (!it) state.systems.set(id, it = { commit: 0, log: [], offsets: new Map() });
  return it;
};

// A replica whose log shrinks keeps the part of a batch below its new end.
function cut(it, to) {
  while (it.batches.length && it.batches[it.batches.length - 1].base >= to) it.batches.pop();
  const last = it.batches[it.batches.length - 1];
  if (last && last.base + last.len > to) last.len = to - last.base;
  it.end = to;
  it.flushed = Math.min(it.flushed, to);
}

const APPLY = [
  (s, o) => { // append
    const it = replica(s.logs[o[2]], o[3]);
    if (o[4] < it.end) cut(it, o[4]);
    it.batches.push({ base: o[4], len: o[5], pid: o[6], epoch: o[7], seq: o[8], leader: o[9], txn: (o[10] & 2) !== 0, what: o[11] });
    it.end = o[4] + o[5];
    if (o[10] & 1) s.touched.set("log" + o[2], o[0]);
  },
  (s, o) => { // marker
    const it = replica(s.logs[o[2]], o[3]);
    if (o[4] < it.end) cut(it, o[4]);
    it.batches.push({ base: o[4], len: 1, pid: o[5], epoch: o[6], seq: -1, leader: o[8], marker: o[7] ? "commit" : "abort" });
    it.end = o[4] + 1;
    s.touched.set("log" + o[2], o[0]);
  },
  (s, o) => { cut(replica(s.logs[o[2]], o[3]), o[4]); s.touched.set("log" + o[2], o[0]); },
  (s, o) => { s.logs[o[2]].hw = o[3]; s.touched.set("log" + o[2], o[0]); },
  (s, o) => { s.logs[o[2]].lso = o[3]; s.touched.set("log" + o[2], o[0]); },
  (s, o) => { Object.assign(s.logs[o[2]], { leader: o[3], epoch: o[4], isr: o[5], unclean: o[6] }); s.touched.set("log" + o[2], o[0]); },
  (s, o) => { replica(s.logs[o[2]], o[3]).flushed = o[4]; },
  (s, o) => { // transaction state
    s.txns.set(o[2], { state: D.texts[o[3]], pid: o[4], epoch: o[5], number: D.texts[o[6]], parts: o[7], broker: o[8], home: o[9] });
    s.touched.set("txn" + o[2], o[0]);
  },
  (s, o) => { // generation
    const it = group(s, o[2]);
    it.generation = o[3];
    it.coordinator = o[5];
    it.why = -1;
    it.members = new Map();
    for (const [member, part] of o[4]) {
      if (!it.members.has(member)) it.members.set(member, []);
      it.members.get(member).push(part);
    }
    s.touched.set("group" + o[2], o[0]);
  },
  (s, o) => { group(s, o[2]).why = o[3]; s.touched.set("group" + o[2], o[0]); },
  (s, o) => { group(s, o[2]).members.delete(o[3]); s.touched.set("group" + o[2], o[0]); },
  (s, o) => { group(s, o[2]).committed.set(o[3], o[4]); s.touched.set("group" + o[2], o[0]); },
  (s, o) => { group(s, o[2]).pending.set(o[3] + "/" + o[5], [o[3], o[4], o[5]]); s.touched.set("group" + o[2], o[0]); },
  (s, o) => { // a pending offset counts, or is dropped
    const it = group(s, o[2]);
    it.pending.delete(o[3] + "/" + o[5]);
    if (o[6]) it.committed.set(o[3], o[4]);
    s.touched.set("group" + o[2], o[0]);
  },
  (s, o) => { s.positions.set(o[2] + "/" + o[3], [o[2], o[3], o[4], o[5]]); s.touched.set("actor" + o[2], o[0]); },
  (s, o) => { Object.assign(client(s, o[2]), { group: o[3], generation: o[4], owned: o[5] }); s.touched.set("actor" + o[2], o[0]); },
  (s, o) => {
    const it = client(s, o[2]);
    it.owned = it.owned.filter((part) => !o[3].includes(part));
    for (const part of o[3]) s.positions.delete(o[2] + "/" + part);
    s.touched.set("actor" + o[2], o[0]);
  },
  (s, o) => { Object.assign(client(s, o[2]), { pid: o[3], epoch: o[4] }); s.touched.set("actor" + o[2], o[0]); },
  (s, o) => { client(s, o[2]).txn = o[3]; s.touched.set("actor" + o[2], o[0]); },
  (s, o) => { // up, down, paused
    const it = client(s, o[2]);
    it.status = o[3];
    if (o[3] === DOWN) {
      Object.assign(it, { pid: -1, epoch: -1, txn: -1, group: -1, generation: -1, owned: [] });
      for (const [key, at] of s.positions) if (at[0] === o[2]) s.positions.delete(key);
    }
    s.touched.set("actor" + o[2], o[0]);
  },
  (s, o) => { // a system's own log
    const it = system(s, o[2]);
    it.commit = Math.max(it.commit, o[3]);
    it.log.push(o[4]);
    s.touched.set("system" + o[2], o[0]);
  },
  (s, o) => { system(s, o[2]).offsets.set(o[3], o[4]); s.touched.set("system" + o[2], o[0]); },
];

let current = fresh();

// The state when row `row` has happened. Forward it goes on, back it begins again.
function stateAt(row) {
  if (row < current.row) current = fresh();
  current.row = row;
  const ops = D.ops;
  while (current.op < ops.length && ops[current.op][0] <= row) {
    const op = ops[current.op++];
    APPLY[op[1]](current, op);
  }
  return current;
}

// ---- the state in words ----

const partName = (part) => D.parts[part][0];
const mono = (text) => `<code>${esc(text)}</code>`;

// How the transaction of each batch stands, by the markers behind it.
function fates(batches) {
  const ended = new Map();
  const fate = new Array(batches.length);
  for (let i = batches.length - 1; i >= 0; i--) {
    const it = batches[i];
    if (it.marker) ended.set(it.pid, it.marker);
    else if (it.txn) fate[i] = ended.has(it.pid) ? (ended.get(it.pid) === "commit" ? "committed" : "aborted") : "open";
  }
  return fate;
}

const SHOWN_BATCHES = 8;

function logTable(batches, fate, all) {
  const from = all ? 0 : Math.max(0, batches.length - SHOWN_BATCHES);
  let out = "";
  for (let i = batches.length - 1; i >= from; i--) {
    const it = batches[i];
    const at = it.len > 1 ? `${it.base}&ndash;${it.base + it.len - 1}` : it.base;
    const who = it.pid < 0 ? "" : `${it.pid} e${it.epoch}` + (it.seq >= 0 ? ` s${it.seq}` : "");
    const what = it.marker ? `<b>${it.marker}</b> marker` : esc(D.texts[it.what]) || '<span class="faint">bookkeeping</span>';
    out += `<tr><td class="number">${at}</td><td>${what}</td><td>${who}</td><td>${fate[i] || ""}</td></tr>`;
  }
  const more = from > 0 ? `<p class="faint">${from} earlier batches <button type="button" data-all="1">show all</button></p>` : "";
  return `<table><thead><tr><th class="number">offsets</th><th>batch</th><th title="producer id, epoch, first sequence">producer</th><th>transaction</th></tr></thead><tbody>${out}</tbody></table>${more}`;
}

function strip(log, batches, fate) {
  const from = Math.max(0, batches.length - 24);
  let out = "";
  let hw = false, lso = log.lso === null;
  for (let i = from; i < batches.length; i++) {
    const it = batches[i];
    if (!lso && it.base >= log.lso) { out += '<span class="mark-lso" title="last stable offset"></span>'; lso = true; }
    if (!hw && it.base >= log.hw) { out += '<span class="mark-hw" title="high watermark"></span>'; hw = true; }
    const kind = it.marker ? "marker" : fate[i] === "open" ? "open" : fate[i] === "aborted" ? "abort" : "";
    out += `<i class="${kind}" style="flex-grow:${Math.min(it.len, 8)}" title="offset ${it.base}, ${it.len} long"></i>`;
  }
  if (!lso) out += '<span class="mark-lso" title="last stable offset"></span>';
  if (!hw) out += '<span class="mark-hw" title="high watermark"></span>';
  return batches.length ? `<div class="strip" aria-hidden="true">${out}</div>` : "";
}

function logBlock(state, part, open, all, now) {
  const log = state.logs[part];
  const brokers = [...log.replicas.keys()].sort((a, b) => a - b);
  const longest = brokers.reduce((best, it) => (best < 0 || log.replicas.get(it).end > log.replicas.get(best).end ? it : best), -1);
  const shown = log.replicas.has(log.leader) ? log.leader : longest;
  const of = log.replicas.get(shown);
  const end = of ? of.end : 0;
  const lso = log.lso === null ? log.hw : log.lso;
  const head = `<b>${esc(partName(part))}</b> <span class="faint">leader ${log.leader < 0 ? "none" : esc(actorName(log.leader))}, end ${end}, high watermark ${log.hw}, last stable ${lso}</span>`;
  let body = "";
  if (open) {
    const batches = of ? of.batches : [];
    const fate = fates(batches);
    const replicas = brokers.map((it) => {
      const one = log.replicas.get(it);
      return `${esc(actorName(it))} ${one.end}` + (one.flushed < one.end ? ` <span class="faint">(${one.flushed} flushed)</span>` : "");
    });
    body = `<dl><dt>leader</dt><dd>${log.leader < 0 ? "none" : esc(actorName(log.leader))}, epoch ${log.epoch}${log.unclean ? " <b class=\"bad\">unclean</b>" : ""}</dd>`
      + `<dt>in sync</dt><dd>${log.isr.map((it) => esc(actorName(it))).join(" ") || "none"}</dd>`
      + `<dt>log ends</dt><dd>${replicas.join(", ") || "empty"}</dd></dl>`
      + strip(log, batches, fate) + (batches.length ? logTable(batches, fate, all) : "");
    if (of && shown !== log.leader) body += `<p class="faint">As ${esc(actorName(shown))} has it.</p>`;
  }
  return `<details data-log="${part}"${open ? " open" : ""}${now ? ' class="now"' : ""}><summary>${head}</summary>${body}</details>`;
}

function txnBlock(state, now) {
  if (!state.txns.size) return "";
  const rows = [...state.txns].sort((a, b) => a[0] - b[0]).map(([id, it]) =>
    `<tr${now("txn" + id) ? ' class="proof"' : ""}><td>${mono(D.txns[id])}${now("txn" + id) ? " &#9679;" : ""}</td><td>${esc(it.state)}</td><td>${it.pid} e${it.epoch}</td><td>${esc(it.number)}${it.parts.length ? ": " + it.parts.map((part) => esc(partName(part))).join(" ") : ""}</td><td>${esc(actorName(it.broker))}</td></tr>`);
  return `<h4>Transaction coordinators</h4><table><thead><tr><th>id</th><th>state</th><th>producer</th><th>transaction</th><th>at</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function groupBlock(state, now) {
  let out = "";
  for (const [id, it] of [...state.groups].sort((a, b) => a[0] - b[0])) {
    const members = [...it.members].map(([member, parts]) => `${esc(D.texts[member])}: ${parts.map((part) => esc(partName(part))).join(" ") || "nothing"}`);
    const committed = [...it.committed].sort((a, b) => a[0] - b[0]).map(([part, offset]) => `${esc(partName(part))}@${offset}`);
    const pending = [...it.pending.values()].map(([part, offset, pid]) => `${esc(partName(part))}@${offset} (producer ${pid})`);
    out += `<h4>Group ${esc(D.groups[id])}${now("group" + id) ? " &#9679;" : ""}</h4><dl><dt>generation</dt><dd>${it.generation < 0 ? "none yet" : it.generation}${it.coordinator < 0 ? "" : ` <span class="faint">at ${esc(actorName(it.coordinator))}</span>`}${it.why >= 0 ? `, rebalancing: ${esc(D.texts[it.why])}` : ""}</dd>`
      + `<dt>members</dt><dd>${members.join("<br>") || "none"}</dd><dt>committed</dt><dd>${committed.join(", ") || "nothing"}</dd>`
      + (pending.length ? `<dt>pending</dt><dd>${pending.join(", ")}</dd>` : "") + "</dl>";
  }
  return out;
}

function actorBlock(state, now) {
  const positions = new Map();
  for (const [actor, part, offset] of state.positions.values()) {
    if (!positions.has(actor)) positions.set(actor, []);
    positions.get(actor).push([part, offset]);
  }
  const rows = [];
  for (let actor = 0; actor < D.actors.length; actor++) {
    const it = state.actors.get(actor);
    const at = positions.get(actor);
    if (!it && !at) continue;
    const facts = [];
    if (it && it.pid >= 0) facts.push(`producer ${it.pid}, epoch ${it.epoch}`);
    if (it && it.txn >= 0) facts.push(`in ${esc(D.texts[it.txn])}`);
    if (it && it.group >= 0) facts.push(`generation ${it.generation}, owns ${it.owned.map((part) => esc(partName(part))).join(" ") || "nothing"}`);
    if (at) facts.push("position " + at.sort((a, b) => a[0] - b[0]).map(([part, offset]) => `${esc(partName(part))}@${offset}`).join(", "));
    const status = it ? STATUS[it.status] : "up";
    if (!facts.length && status === "up") continue;
    rows.push(`<dt>${esc(actorName(actor))}${now("actor" + actor) ? " &#9679;" : ""}</dt><dd>${status === "up" ? "" : `<b class="bad">${status}</b>${facts.length ? "; " : ""}`}${facts.join("; ")}</dd>`);
  }
  return rows.length ? `<h4>Clients and processes</h4><dl>${rows.join("")}</dl>` : "";
}

const SHOWN_COMMITS = 6;

function systemBlock(state, now) {
  let out = "";
  for (const [id, it] of [...state.systems].sort((a, b) => a[0] - b[0])) {
    const last = it.log.slice(-SHOWN_COMMITS).reverse().map((text) => `<li>${esc(D.texts[text])}</li>`).join("");
    const offsets = [...it.offsets].map(([part, next]) => `${esc(partName(part))}@${next}`).join(", ");
    const more = it.log.length > SHOWN_COMMITS ? `<span class="faint">${it.log.length - SHOWN_COMMITS} earlier</span>` : "";
    out += `<h4>${esc(actorName(id))}${now("system" + id) ? " &#9679;" : ""} <span class="faint">${it.commit} commits</span></h4><ul>${last}</ul>${more}${offsets ? `<dl><dt>stored offsets</dt><dd>${offsets}</dd></dl>` : ""}`;
  }
  return out;
}
