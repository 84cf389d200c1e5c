"use strict";
(() => {
  const root = document.documentElement;
  root.dataset.errors = "0";
  addEventListener("error", (event) => {
    root.dataset.errors = String(Number(root.dataset.errors) + 1);
    root.dataset.error = event.message;
  });
  const cells = JSON.parse(document.getElementById("cells").textContent);
  const detail = document.getElementById("detail");
  const at = (id) => document.getElementById(id);
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const copy = (button, text) => {
    const done = () => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
  };
  const command = (text) => {
    const box = make("div", "", "command");
    const pre = make("pre", "");
    pre.append(make("code", text));
    const button = make("button", "Copy", "no-print");
    button.type = "button";
    button.addEventListener("click", () => copy(button, text));
    box.append(pre, button);
    return box;
  };
  const show = (cell) => {
    at("detail-title").textContent = cell.row + ", " + cell.column;
    at("detail-counts").textContent = cell.counts;
    at("detail-bug").hidden = !cell.bug;
    at("detail-bug").textContent = cell.bug || "";
    const rows = cell.promises.map((promise) => {
      const row = document.createElement("tr");
      const verdict = document.createElement("td");
      verdict.append(make("span", promise.verdict, promise.verdict));
      const name = make("th", promise.name);
      name.scope = "row";
      row.append(name, verdict, make("td", promise.words));
      return row;
    });
    at("detail-rows").replaceChildren(...rows);
    const proofs = [];
    for (const found of cell.found) {
      proofs.push(make("h3", found.names + ": " + found.anomaly), make("p", found.sentence));
      proofs.push(command(found.command));
    }
    at("detail-proofs").replaceChildren(...proofs);
    if (!detail.open) detail.showModal();
  };
  const open = (index) => {
    if (!cells[index]) return;
    history.replaceState(null, "", "#cell=" + index);
    show(cells[index]);
  };
  const follow = () => {
    const named = /^#cell=(\d+)$/.exec(location.hash);
    if (named) open(Number(named[1]));
  };
  addEventListener("hashchange", follow);
  detail.addEventListener("close", () => history.replaceState(null, "", "#"));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target === detail) detail.close();
    if (!button) return;
    if (button.dataset.cell) open(Number(button.dataset.cell));
    if (button.classList.contains("copy")) {
      copy(button, button.parentElement.querySelector("code").textContent);
    }
  });
  follow();
  root.dataset.ready = "1";
})();
