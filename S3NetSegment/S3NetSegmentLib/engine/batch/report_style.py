"""How the page of the report looks, by day, by night and on paper; and its script, which sorts and filters the lines."""

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --faint: #5f6368; --page: #fff; --head: #f1f3f4; --line: #dadce0;
  --bad: #fdecea; --error: #a01818; --why: #8a4b00; --link: #0b57d0; --picture: #e8eaed; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e3e3; --faint: #a3a7ac; --page: #1b1b1d; --head: #2a2b2e;
  --line: #3c4043; --bad: #3b2020; --error: #ff9a8f; --why: #f3bf72; --link: #8ab4f8; --picture: #2a2b2e; } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: var(--text); background: var(--page); }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p { margin: 0 0 .3rem; color: var(--faint); overflow-wrap: anywhere; }
a { color: var(--link); }
form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .8rem 0; }
input, select { font: inherit; padding: .25rem .4rem; }
input { width: 16rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: var(--head); }
th button { font: inherit; font-weight: 600; text-align: inherit; color: inherit; border: 0; padding: 0; background: none;
  cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td.why { color: var(--why); }
td.reason { min-width: 7rem; max-width: 14rem; overflow-wrap: anywhere; }
td.name { min-width: 13rem; max-width: 22rem; overflow-wrap: anywhere; }
td.remarks { min-width: 17rem; overflow-wrap: anywhere; }
summary { cursor: pointer; }
td.picture { width: 120px; }
img { display: block; max-width: 120px; max-height: 110px; background: var(--picture); }
tr.failed td { background: var(--bad); }
tr.waiting td { color: var(--faint); }
.error { color: var(--error); }
small { color: var(--faint); }
@media print {
  :root { --text: #000; --faint: #444; --page: #fff; --head: #fff; --line: #bbb; --bad: #fff; --error: #000; --why: #000;
    --link: #000; }
  @page { size: landscape; margin: 12mm; }
  body { font-size: 9pt; margin: 0; }
  form { display: none; }
  th { position: static; }
  th button { display: contents; }
  tr { break-inside: avoid; }
  a { text-decoration: none; }
  td.remarks { min-width: 0; }
  td.picture { width: 24mm; }
  img { max-width: 24mm; max-height: 20mm; print-color-adjust: exact; }
}
""".strip()

SCRIPT = """
var body = document.querySelector("tbody"), heads = document.querySelectorAll("th");
var rows = Array.prototype.slice.call(body.rows), form = document.querySelector("form");
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var head = button.parentNode, column = Array.prototype.indexOf.call(heads, head);
    var up = head.getAttribute("aria-sort") === "descending" ||
      (head.getAttribute("aria-sort") === "none" && head.dataset.first === "ascending");
    heads.forEach(function (other) { other.setAttribute("aria-sort", "none"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    var numbers = head.dataset.kind === "number", collator = new Intl.Collator(undefined, {numeric: true});
    rows.map(function (row, place) {
      return [row.cells[column].dataset.sort, place, row];
    }).sort(function (a, b) {
      if (a[0] === "" || b[0] === "") return (a[0] === "") - (b[0] === "") || a[1] - b[1];
      var order = numbers ? a[0] - b[0] : collator.compare(a[0], b[0]);
      return (up ? order : -order) || a[1] - b[1];
    }).forEach(function (entry) { body.appendChild(entry[2]); });
  });
});
function filter() {
  var words = form.search.value.toLowerCase().split(/\\s+/), shown = 0;
  var kind = form.state.value, method = form.method.value;
  rows.forEach(function (row) {
    var text = row.textContent.toLowerCase();
    var state = kind === "" || (kind === "look" ? row.cells[0].classList.contains("why") : row.className === kind);
    row.hidden = !(state && (method === "" || row.dataset.method === method) &&
      words.every(function (word) { return text.indexOf(word) >= 0; }));
    shown += row.hidden ? 0 : 1;
  });
  form.querySelector("output").textContent = shown === rows.length ? "" : shown + " of " + rows.length + " cases shown";
}
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", function (event) { event.preventDefault(); });
filter();
""".strip()
