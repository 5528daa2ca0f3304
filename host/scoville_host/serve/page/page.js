// The page: a text from the server's own API, and what the chip does meanwhile.
import { show } from "./chip.js";

const at = (id) => document.getElementById(id);
let model = "", going = null;

const headers = () => {
  const found = { "Content-Type": "application/json" };
  if (at("key").value) found.Authorization = `Bearer ${at("key").value}`;
  return found;
};

function element(kind, text = "", name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = name;
  return made;
}

// Data of server-sent events, as they come.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) if (part.startsWith("data: {")) yield JSON.parse(part.slice(6));
  }
}

async function get(path, options = {}) {
  const answer = await fetch(path, { headers: headers(), ...options });
  at("keyed").hidden = !(answer.status === 401 || at("key").value);
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
}

async function write(event) {
  event.preventDefault();
  const prompt = at("prompt").value, texts = at("texts"), count = Number(at("count").value);
  const lines = Array.from({ length: count }, () => {
    const line = element("p");
    line.append(element("b", prompt));
    texts.append(line);
    return line;
  });
  going = new AbortController();
  at("stop").disabled = false;
  try {
    const answer = await get("v1/completions", { method: "POST", signal: going.signal, body: JSON.stringify({
      model, prompt, n: count, stream: true, max_tokens: Number(at("tokens").value),
      temperature: Number(at("heat").value) }) });
    for await (const part of events(answer)) {
      if (part.error) throw new Error(part.error.message);
      for (const choice of part.choices) lines[choice.index].append(choice.text);
      texts.scrollTop = texts.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") texts.append(element("p", error.message, "error"));
  }
  at("stop").disabled = true;
}

async function watch() {
  for (;;) {
    try {
      if (!model) {
        model = (await (await get("v1/models")).json()).data[0].id;
        at("model").textContent = `${model}, on an open LLM-inference processor`;
      }
      for await (const seen of events(await get("live"))) show(seen);
    } catch (error) {
      at("state").textContent = error.message;
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

at("ask").addEventListener("submit", write);
at("stop").addEventListener("click", () => going.abort());
watch();
