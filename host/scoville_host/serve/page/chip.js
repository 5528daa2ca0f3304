// What the chip does, as the server tells it. Elements stay where they are, so that the focus does.
import { explain } from "./help.js";

const at = (id) => document.getElementById(id);
const KINDS = {
  running: "Pages of one sequence that runs", shared: "Pages that several sequences have: they were computed once",
  parked: "Pages of sequences that have ended, kept for others that begin alike, until they are needed",
  free: "Pages that nobody has",
};
const NAMES = {
  passes: ["passes", "In a pass the chip reads all weights once, and computes a token of each of several sequences"],
  prompt_tokens: ["tokens of prompts", "Tokens of texts that were asked to be continued"],
  cached_tokens: ["of those, another had them", "Tokens that were not computed, since another sequence began alike"],
  generated_tokens: ["tokens generated", "Tokens that the chip computed and sampled"],
  preempted: ["preempted", "How often a sequence gave its pages to others, to be computed again later"],
  restarts: ["started anew", "How often the chip had a fault, and was reset"],
};
const PARTS = {
  beats: ["bus", "Cycles in which memory gave a beat of weights or of the KV cache: the most there can be is 100 %"],
  work: ["multipliers", "Cycles in which the multipliers did useful work"],
};
let reasons = {}, before = null, last = null;

function made(kind, text = "", name = "") {
  const element = document.createElement(kind);
  element.textContent = text;
  element.className = name;
  return element;
}

// As many children as there are `items`, each made once; `set` changes one.
function keep(parent, items, make, set) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  items.forEach((item, index) => {
    if (!parent.children[index]) parent.append(make(item));
    set(parent.children[index], item);
  });
}

function row(text, help) {
  const line = explain(made("li"), help);
  line.append(made("span", text), made("meter"), made("output"));
  line.children[1].setAttribute("aria-label", text);
  return line;
}

const setRow = (line, part) => {
  line.children[1].value = part;
  line.children[2].textContent = `${(100 * part).toFixed(1)} %`;
};

function slots(seen) {
  keep(at("slots"), seen.slots, () => {
    const line = explain(made("li"), "A sequence: tokens of its prompt, and tokens that were generated; the bar is how " +
      "much of the context they fill");
    line.append(made("meter"), made("span"));
    line.firstChild.setAttribute("aria-label", "tokens of the context");
    return line;
  }, (line, slot) => {
    Object.assign(line.firstChild, { max: seen.context, value: slot.prompt + slot.tokens });
    line.lastChild.textContent = ` ${slot.prompt} + ${slot.tokens} tokens` +
      (slot.shared ? `, ${slot.shared} shared` : "") + (slot.preempted ? `, preempted ${slot.preempted} times` : "");
  });
}

function pool(seen) {
  const kinds = Object.keys(KINDS).filter((kind) => kind in seen.pool);
  keep(at("pool"), kinds, (kind) => made("span", "", kind), (part, kind) => { part.style.flex = `${seen.pool[kind]} 0 0`; });
  at("pool").setAttribute("aria-label", kinds.map((kind) => `${seen.pool[kind]} ${kind}`).join(", ") || "not counted");
  at("no-pages").hidden = kinds.length > 0;
  keep(at("legend"), kinds, (kind) => {
    const line = explain(made("li"), KINDS[kind]);
    line.append(made("i", "", kind), made("span"));
    return line;
  }, (line, kind) => { line.lastChild.textContent = `${kind} ${seen.pool[kind]}`; });
}

// Of the cycles since the look before: how many had what.
function cycles(now) {
  const counted = "cycles" in now;
  at("no-cycles").hidden = counted;
  if (!counted || now.cycles === last?.cycles) return;
  [before, last] = [last && last.cycles < now.cycles ? last : null, now];
  const all = now.cycles - (before?.cycles ?? 0);
  const part = (name) => (now[name] - (before?.[name] ?? 0)) / all;
  keep(at("cycles"), Object.keys(PARTS), (name) => row(...PARTS[name]), (line, name) => setRow(line, part(name)));
  const stalls = Object.entries(now.stalls).map(([name, count]) => [name, (count - (before?.stalls[name] ?? 0)) / all]);
  keep(at("stalls"), stalls, ([name]) => row(name.replaceAll("_", " "), `No useful work of the multipliers: ${
    reasons[name] ?? name}`), (line, [, share]) => {
    line.hidden = share < 0.001 && line !== document.activeElement;
    setRow(line, share);
  });
}

export function show(seen) {
  at("state").textContent = `${seen.running} running, ${seen.waiting} waiting`;
  slots(seen);
  pool(seen);
  cycles(seen.cycles);
  keep(at("counts"), Object.keys(NAMES), (name) => {
    const line = explain(made("div"), NAMES[name][1]);
    line.append(made("dt", NAMES[name][0]), made("dd"));
    return line;
  }, (line, name) => { line.lastChild.textContent = (seen.counts[name] ?? 0).toLocaleString(); });
}

fetch("page/stalls.json").then((answer) => answer.json()).then((found) => { reasons = found; });
