"use strict";
(function () {
  function key(row, column) {
    var text = (row.cells[column] ? row.cells[column].textContent : "").trim();
    var number = parseFloat(text.replace(/\u2212/g, "-").replace(/^< */, ""));
    return { text: text.toLowerCase(), number: /^[-\u2212<]? *[\d.]/.test(text) ? number : NaN };
  }
  function compare(a, b) {
    if (isNaN(a.number) || isNaN(b.number)) { return a.text.localeCompare(b.text, undefined, { numeric: true }); }
    return a.number - b.number;
  }
  function sort(table, head) {
    var column = head.cellIndex, body = table.tBodies[0];
    var down = head.getAttribute("aria-sort") === "ascending";
    var rows = Array.prototype.map.call(body.rows, function (row, place) { return { row: row, key: key(row, column), place: place }; });
    rows.sort(function (a, b) {
      if (!a.key.text !== !b.key.text) { return a.key.text ? -1 : 1; }
      return (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
    });
    rows.forEach(function (item) { body.appendChild(item.row); });
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell) { cell.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
  function finder(rows, label, before) {
    var box = document.createElement("label"), input = document.createElement("input"), count = document.createElement("span");
    box.className = "find";
    input.type = "search";
    input.setAttribute("aria-label", label);
    input.placeholder = "Filter";
    count.setAttribute("role", "status");
    box.append(input, count);
    before.parentNode.insertBefore(box, before);
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      rows.forEach(function (row) {
        var text = (row.querySelector("summary") || row).textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = words.length ? shown + " of " + rows.length : "";
    });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () { sort(table, head); });
    });
    var region = table.parentNode, rows = Array.prototype.slice.call(table.tBodies[0].rows);
    if (rows.length > 8) { finder(rows, "Filter: " + region.getAttribute("aria-label"), region); }
  });
  var cards = document.querySelector(".cards");
  if (cards && cards.children.length > 8) { finder(Array.prototype.slice.call(cards.children), "Filter models", cards); }
  function reveal() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.hidden = false; target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
  if ("IntersectionObserver" in window) {
    var links = {};
    document.querySelectorAll("nav a").forEach(function (link) { links[link.hash.slice(1)] = link; });
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) { return; }
        Object.values(links).forEach(function (link) { link.classList.remove("here"); link.removeAttribute("aria-current"); });
        var link = links[entry.target.id];
        if (link) { link.classList.add("here"); link.setAttribute("aria-current", "true"); }
      });
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach(function (section) { observer.observe(section); });
  }
}());
