// What each thing is: of the one that is pointed at, or has the focus, its `data-help` is shown below the page.
const line = document.getElementById("help"), first = line.textContent;

export function explain(element, text) {
  element.dataset.help = text;
  element.tabIndex = 0;
  return element;
}

function tell(event) {
  const about = event.target.closest?.("[data-help]");
  line.textContent = about ? about.dataset.help : first;
}

for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, tell);
document.addEventListener("focusout", () => { line.textContent = first; });
