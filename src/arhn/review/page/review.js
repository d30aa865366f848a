"use strict";
// Texts come from the server as plain text and are set as text, never as HTML.
const $ = (id) => document.getElementById(id);
const ANSWERS = [["1", "fully", "answers fully"], ["2", "partly", "partly"], ["3", "no", "doesn't"], ["4", "unsure", "can't tell"]];
let reviewer = new URLSearchParams(location.search).get("reviewer") || "";
let mode = "answer";
let item = null;
let busy = false;
let hinted = false;

async function call(what, more) {
  const reply = await fetch("api/" + what, {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({reviewer, mode, ...more}),
  });
  const said = await reply.json().catch(() => ({error: "The server gave no answer (" + reply.status + ")"}));
  if (!reply.ok) throw new Error(said.error);
  return said;
}

// One thing at a time: a key that is hit twice must not answer the next passage.
async function act(what, more) {
  if (busy) return;
  busy = true;
  try {
    show(await call(what, more));
    $("wrong").textContent = "";
  } catch (error) {
    $("wrong").textContent = error.message + ". Nothing was lost; try again, or start 'arhn review' again.";
  } finally {
    busy = false;
  }
}

function node(tag, text, kind) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function fill(place, passage, marked) {
  const body = document.createElement("div");
  body.className = "foreign";
  if (passage.cut_before) body.append(node("span", "[" + passage.cut_before.toLocaleString() + " characters before] ", "dim"));
  body.append(passage.before);
  body.append(marked && passage.snippet ? node("mark", passage.snippet) : passage.snippet);
  body.append(passage.after);
  const cut = passage.cut_inside + passage.cut_after;
  if (cut) body.append(node("span", " [" + cut.toLocaleString() + " characters more]", "dim"));
  place.replaceChildren(...(passage.title ? [node("div", passage.title, "foreign title")] : []), body);
  place.parentElement.tabIndex = 0;
}

function show(state) {
  if (state.said !== undefined) $("said").textContent = state.said;
  const p = state.progress;
  $("bar").max = Math.max(1, p.wanted);
  $("bar").value = p.done;
  $("count").textContent = p.done + " of " + p.wanted + " answered" + (p.disputed ? ", " + p.disputed + " in dispute" : "");
  $("who").hidden = true;
  item = state.item;
  for (const swap of [$("swap"), $("swap2")]) {
    swap.hidden = mode === "answer" && !p.disputed;
    swap.replaceChildren(node("kbd", "d"), mode === "answer" ? " settle disputes (" + p.disputed + ")" : " back to answering");
  }
  $("card").hidden = !item;
  $("done").hidden = !!item;
  if ($("results").open) results();
  if (!item) {
    $("finished").textContent = mode === "answer" ? "All answered" : "No disputes left";
    $("next").textContent = mode === "answer" ? "Nothing is left for you. Results are below; the terminal shows them when you stop arhn with Ctrl-C." : "";
    $("finished").focus();
    return;
  }
  hinted = false;
  $("mode").textContent = mode === "answer" ? "Passage " + (p.mine + 1) + ", reviewer " + reviewer : "Settle a dispute";
  $("query").textContent = item.query;
  fill($("candidate"), item.candidate, false);
  fill($("positive"), item.positive, true);
  $("note").value = "";
  $("disputed").replaceChildren(...(item.answers || []).map((a) => node("p", a.reviewer + ": " + a.words + (a.note ? " (" + a.note + ")" : ""))));
  $("query").focus();
  window.scrollTo(0, 0);
}

function answer(word) {
  if (item) act(mode === "answer" ? "answer" : "adjudicate", {number: item.number, answer: word, note: $("note").value, hinted});
}
function hint() {
  if (!item) return;
  hinted = true;
  fill($("candidate"), item.candidate, true);
  if (!item.candidate.snippet) $("said").textContent = "arhn marked nothing here.";
}
function swap() {
  mode = mode === "answer" ? "adjudicate" : "answer";
  act("next", {});
}

async function results() {
  const found = await call("results", {});
  const parts = [];
  for (const table of found.tables) {
    const made = document.createElement("table");
    made.append(node("caption", table.caption));
    const head = made.createTHead().insertRow();
    for (const column of table.columns) { const th = node("th", column); th.scope = "col"; head.append(th); }
    const body = made.createTBody();
    for (const row of table.rows) {
      const line = body.insertRow();
      row.forEach((cell, i) => { const made = node(i ? "td" : "th", cell); if (!i) made.scope = "row"; line.append(made); });
    }
    parts.push(made);
  }
  for (const line of found.lines) parts.push(node("p", line));
  $("table").replaceChildren(...parts);
}

async function guideline() {
  const found = await call("guideline", {});
  $("guideline").textContent = found.shown;
  $("words").value = found.text;
}

for (const [key, word, words] of ANSWERS) {
  const button = node("button", "");
  button.type = "button";
  button.id = "answer-" + word;
  button.append(node("kbd", key), " " + words);
  button.addEventListener("click", () => answer(word));
  $("answers").append(button);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "note")) { event.target.blur(); $("query").focus(); }
    return;
  }
  const found = ANSWERS.find(([key]) => key === event.key);
  if (found) answer(found[1]);
  else if (event.key === "u" && reviewer) act("undo", {});
  else if (event.key === "h") hint();
  else if (event.key === "d" && (mode === "adjudicate" || !$("swap").hidden)) swap();
  else if (event.key === "n" && item) { event.preventDefault(); $("note").focus(); }
});
$("undo").addEventListener("click", () => act("undo", {}));
$("undo2").addEventListener("click", () => act("undo", {}));
$("hint").addEventListener("click", hint);
$("swap").addEventListener("click", swap);
$("swap2").addEventListener("click", swap);
$("results").addEventListener("toggle", () => { if ($("results").open) results(); });
$("edit").addEventListener("click", () => { $("editing").hidden = !$("editing").hidden; if (!$("editing").hidden) $("words").focus(); });
$("editing").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("guideline", {text: $("words").value});
    $("editing").hidden = true;
    await guideline();
  } catch (error) { $("wrong").textContent = error.message; }
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  reviewer = $("name").value.trim();
  if (reviewer) { history.replaceState(null, "", "?reviewer=" + encodeURIComponent(reviewer)); act("next", {}); }
});
guideline();
if (reviewer) act("next", {});
else { $("who").hidden = false; $("name").focus(); }
