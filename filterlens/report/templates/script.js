"use strict";
(function () {
  var MOST_ROWS = 200, MOST_MARKS = 1500;
  var data = JSON.parse(document.getElementById("data").textContent), places = new Map(data.models);

  function make(name, attributes, text) {
    var made = document.createElement(name);
    Object.keys(attributes || {}).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (text !== undefined) { made.textContent = text; }
    return made;
  }
  function number(text) {
    var value = parseFloat(text.replace(/\u2212/g, "-").replace(/^< */, "").replace("\u221e", "Infinity"));
    return /^[-\u2212<]? *[\d.\u221e]/.test(text) ? value : NaN;
  }
  function decimals(text) { return (text.split(".")[1] || "").replace(/\D.*/, "").length; }
  function minus(text) { return text.replace("-", "\u2212"); }
  function cellText(row, column) { return (row.cells[column] ? row.cells[column].textContent : "").trim(); }

  /* tables: a click on a heading sorts, words filter */
  function compare(a, b) {
    if (isNaN(a.number) || isNaN(b.number)) { return a.text.localeCompare(b.text, undefined, { numeric: true }); }
    return a.number - b.number;
  }
  function sorted(items, textOf, down) {
    var keyed = items.map(function (item, place) { var text = textOf(item); return { item: item, place: place, key: { text: text.toLowerCase(), number: number(text) } }; });
    keyed.sort(function (a, b) {
      if (!a.key.text !== !b.key.text) { return a.key.text ? -1 : 1; }
      return (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
    });
    return keyed.map(function (one) { return one.item; });
  }
  function sortable(table, sort) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head) {
      var button = make("button", { type: "button" }, head.textContent);
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (one) { one.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(head.cellIndex, down);
      });
    });
  }
  function sortBody(table) {
    return function (column, down) {
      var body = table.tBodies[0];
      sorted(Array.prototype.slice.call(body.rows), function (row) { return cellText(row, column); }, down).forEach(function (row) { body.appendChild(row); });
    };
  }
  function searchBox(label, before) {
    var box = make("div", { "class": "find" }), input = make("input", { type: "search", "aria-label": label, placeholder: "Filter" }), count = make("span", { role: "status" });
    box.append(input, count);
    before.parentNode.insertBefore(box, before);
    return { box: box, input: input, count: count };
  }
  function wordsOf(text) { return text.toLowerCase().split(/\s+/).filter(Boolean); }
  function holds(text, words) { return words.every(function (word) { return text.indexOf(word) >= 0; }); }
  function finder(rows, label, before) {
    var box = searchBox(label, before);
    box.input.addEventListener("input", function () {
      var words = wordsOf(box.input.value), shown = 0;
      rows.forEach(function (row) {
        row.hidden = !holds((row.querySelector("summary") || row).textContent.toLowerCase(), words);
        shown += row.hidden ? 0 : 1;
      });
      box.count.textContent = words.length ? shown + " of " + rows.length : "";
    });
  }

  /* the models: of the page's table where it lists them, else of the data beside it */
  var modelTable = document.querySelector("#table-models table"), region = modelTable.parentNode, columns, models;
  if (data.rows) {
    columns = data.columns;
    models = data.rows.map(function (cells) { return { cells: cells, text: cells.join(" ").toLowerCase() }; });
  } else {
    columns = Array.prototype.map.call(modelTable.tHead.rows[0].cells, function (head) {
      return { key: head.dataset.key, label: head.textContent, numeric: head.classList.contains("n") };
    });
    models = Array.prototype.map.call(modelTable.tBodies[0].rows, function (row) {
      var cells = Array.prototype.map.call(row.cells, function (one) { return one.textContent.trim(); });
      return { cells: cells, text: cells.join(" ").toLowerCase(), row: row };
    });
  }
  function columnOf(key) { return columns.findIndex(function (column) { return column.key === key; }); }
  var NAME = columnOf("model_id"), SIDE = columnOf("robust");
  models.forEach(function (model) {
    model.id = model.cells[NAME];
    model.side = { yes: "robust", no: "normal" }[model.cells[SIDE]] || "unknown";
  });
  var byId = new Map(models.map(function (model) { return [model.id, model]; }));
  function link(model) { return make("a", { href: "#" + places.get(model.id) }, model.id); }

  /* two models side by side */
  var chosen = [], beside = make("div", { id: "beside", "class": "beside", role: "region", "aria-label": "Two models side by side", "aria-live": "polite" });
  function tick(model) {
    var box = make("input", { type: "checkbox", "aria-label": "Compare " + model.id });
    box.checked = chosen.indexOf(model) >= 0;
    box.addEventListener("change", function () {
      chosen = chosen.filter(function (one) { return one !== model; });
      if (box.checked) { chosen.push(model); }
      if (chosen.length > 2) { var out = chosen.shift(); if (out.tick) { out.tick.checked = false; } }
      showBeside();
    });
    model.tick = box;
    return box;
  }
  function showBeside() {
    beside.textContent = "";
    if (!chosen.length) { return; }
    if (chosen.length === 1) { beside.appendChild(make("p", { "class": "quiet" }, "Chosen: " + chosen[0].id + ". Choose a second model to see them side by side.")); return; }
    var table = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
    head.appendChild(make("th", { scope: "col" }, "side by side"));
    chosen.forEach(function (model) { var cell = make("th", { scope: "col" }); cell.appendChild(link(model)); head.appendChild(cell); });
    head.appendChild(make("th", { scope: "col", "class": "n" }, "difference"));
    columns.forEach(function (column, place) {
      var texts = chosen.map(function (model) { return model.cells[place]; });
      if (place === NAME || !(texts[0] || texts[1])) { return; }
      var row = make("tr"), difference = column.numeric ? number(texts[1]) - number(texts[0]) : NaN;
      row.appendChild(make("th", { scope: "row" }, column.label));
      texts.forEach(function (text) { row.appendChild(make("td", column.numeric ? { "class": "n" } : {}, text)); });
      row.appendChild(make("td", { "class": "n" }, isFinite(difference) ? minus(difference.toFixed(Math.max(decimals(texts[0]), decimals(texts[1])))) : ""));
      body.appendChild(row);
    });
    top.appendChild(head);
    table.append(top, body);
    var scroll = make("div", { "class": "scroll", tabindex: "0", role: "region", "aria-label": "Side by side" });
    scroll.appendChild(table);
    beside.appendChild(scroll);
  }

  /* search, filters, and the table's rows */
  var box = searchBox("Filter: Every model", region), filters = [], shown = models, order = models;
  ["dataset", "architecture", "robust"].forEach(function (key) {
    var place = columnOf(key), values = Array.from(new Set(models.map(function (model) { return model.cells[place]; })));
    if (values.length < 2) { return; }
    var label = { dataset: "data set", architecture: "architecture", robust: "robust" }[key], select = make("select", { "aria-label": label });
    select.appendChild(make("option", { value: "*" }, label + ": all"));
    values.sort(function (a, b) { return a.localeCompare(b, undefined, { numeric: true }); }).forEach(function (value) {
      select.appendChild(make("option", { value: "=" + value }, key === "robust" ? { yes: "robust", no: "normal" }[value] || "unknown" : value || "unknown"));
    });
    select.addEventListener("change", filter);
    filters.push({ place: place, select: select });
    box.box.insertBefore(select, box.count);
  });
  function filter() {
    var words = wordsOf(box.input.value);
    shown = models.filter(function (model) {
      return holds(model.text, words) && filters.every(function (one) { return one.select.value === "*" || one.select.value === "=" + model.cells[one.place]; });
    });
    var all = shown.length === models.length;
    box.count.textContent = all && !words.length ? "" : shown.length + " of " + models.length + (data.rows && shown.length > MOST_ROWS ? ", the first " + MOST_ROWS + " shown" : "");
    showRows(all && !words.length);
    if (plot) { drawChart(); }
  }
  function showRows(all) {
    if (!data.rows) {
      var kept = new Set(shown);
      models.forEach(function (model) { model.row.hidden = !kept.has(model); });
      return;
    }
    found.parentNode.hidden = all;
    region.hidden = !all;
    var kept_ = new Set(shown), body = found.tBodies[0];
    body.textContent = "";
    order.filter(function (model) { return kept_.has(model); }).slice(0, MOST_ROWS).forEach(function (model) { body.appendChild(rowOf(model)); });
  }
  function rowOf(model) {
    var row = make("tr");
    model.cells.forEach(function (text, place) {
      var cell = make("td", { "class": columns[place].numeric ? "n" : place === NAME ? "m" : "" });
      if (place === NAME) { cell.append(make("i", { "class": "dot " + model.side, "aria-hidden": "true" }), tick(model), link(model)); } else { cell.textContent = text; }
      row.appendChild(cell);
    });
    return row;
  }
  var found = null;
  if (data.rows) {
    found = make("table", { "class": "sortable" });
    var heads = make("tr");
    columns.forEach(function (column) { heads.appendChild(make("th", column.numeric ? { scope: "col", "class": "n" } : { scope: "col" }, column.label)); });
    found.createTHead().appendChild(heads);
    found.appendChild(make("tbody"));
    var around = make("div", { "class": "scroll", tabindex: "0", role: "region", "aria-label": "Models found" });
    around.hidden = true;
    around.appendChild(found);
    region.parentNode.insertBefore(around, region);
    sortable(found, function (column, down) { order = sorted(models, function (model) { return model.cells[column]; }, down); showRows(false); });
  } else {
    models.forEach(function (model) { model.row.cells[NAME].insertBefore(tick(model), model.row.cells[NAME].querySelector("a")); });
  }
  box.input.addEventListener("input", filter);
  (found ? found.parentNode : region).parentNode.insertBefore(beside, found ? found.parentNode : region);

  document.querySelectorAll("table.sortable").forEach(function (table) {
    if (table === found) { return; }
    sortable(table, sortBody(table));
    var scroll = table.parentNode, rows = Array.prototype.slice.call(table.tBodies[0].rows);
    if (table !== modelTable && rows.length > 8) { finder(rows, "Filter: " + scroll.getAttribute("aria-label"), scroll); }
  });
  var cards = document.querySelector(".cards");
  if (cards.children.length > 8) { finder(Array.prototype.slice.call(cards.children), "Filter models", cards); }

  /* what lies under the pointer */
  var tip = make("div", { "class": "tip", "aria-hidden": "true" });
  tip.hidden = true;
  document.body.appendChild(tip);
  function say(text, event) {
    tip.hidden = !text;
    if (!text) { return; }
    tip.textContent = text;
    var width = document.documentElement.clientWidth;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, width - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(8, event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18) + "px";
  }
  function open(id) { if (places.has(id)) { location.hash = places.get(id); reveal(); } }
  function hover(picture, at) {
    function under(event) {
      var frame = picture.getBoundingClientRect();
      return at((event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height, frame);
    }
    picture.addEventListener("mousemove", function (event) { var hit = under(event); picture.style.cursor = hit ? "pointer" : ""; say(hit && hit.text, event); });
    picture.addEventListener("mouseleave", function () { say(""); });
    picture.addEventListener("click", function (event) { var hit = under(event); if (hit) { say(""); open(hit.id); } });
  }
  document.querySelectorAll("img[data-points]").forEach(function (picture) {
    var points = JSON.parse(picture.dataset.points);
    hover(picture, function (x, y, frame) {
      var best = null, least = 81;
      points.forEach(function (point) {
        var a = (point[0] - x) * frame.width, b = (point[1] - y) * frame.height, far = a * a + b * b;
        if (far < least) { least = far; best = point; }
      });
      return best && { id: best[2], text: best[2] + "\n" + best[3].replace(/; /g, "\n") };
    });
  });
  document.querySelectorAll("img[data-grid]").forEach(function (picture) {
    var grid = JSON.parse(picture.dataset.grid), n = grid.models.length, box = grid.box;
    hover(picture, function (x, y) {
      var column = Math.floor(n * (x - box[0]) / (box[2] - box[0])), row = Math.floor(n * (y - box[1]) / (box[3] - box[1]));
      if (column < 0 || row < 0 || column >= n || row >= n) { return null; }
      var value = grid.values.length ? grid.values[row][column] !== undefined ? grid.values[row][column] : grid.values[column][row] : null;
      return { id: grid.models[row], text: grid.models[row] + "\n" + grid.models[column] + (value === null ? "" : "\n" + value + " " + grid.unit) };
    });
  });

  /* the chart of models: any number against any other */
  var plot = document.getElementById("plot"), axes = [];
  var SHAPES = { robust: "M0-5.5 5.5 0 0 5.5-5.5 0z", normal: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z", unknown: "M0-5 5 4H-5z" };
  function svg(name, attributes, text) {
    var made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (text !== undefined) { made.textContent = text; }
    return made;
  }
  function limits(values) {
    var low = Math.min.apply(null, values), high = Math.max.apply(null, values), margin = 0.04 * (high - low) || Math.abs(low) * 0.05 || 0.5;
    return [low - margin, high + margin];
  }
  function ticks(low, high) {
    var raw = (high - low) / 6, power = Math.pow(10, Math.floor(Math.log10(raw))), step = power * [1, 2, 5, 10].find(function (factor) { return power * factor >= raw; }), made = [];
    for (var i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i += 1) { made.push(parseFloat((step * i).toPrecision(12))); }
    return made;
  }
  function drawChart() {
    var x = columnOf(axes[0].value), y = columnOf(axes[1].value);
    var known = shown.map(function (model) { return { model: model, x: number(model.cells[x]), y: number(model.cells[y]) }; }).filter(function (one) { return isFinite(one.x) && isFinite(one.y); });
    var grid = svg("g", { "class": "grid" }), marks = svg("g", { "class": "marks" });
    if (known.length) {
      var across = limits(known.map(function (one) { return one.x; })), up = limits(known.map(function (one) { return one.y; }));
      var u = function (value) { return 64 + (value - across[0]) / (across[1] - across[0]) * 684; }, v = function (value) { return 372 - (value - up[0]) / (up[1] - up[0]) * 358; };
      ticks(across[0], across[1]).forEach(function (one) { grid.append(svg("path", { d: "M" + u(one) + " 14V372" }), svg("text", { x: u(one), y: 388, "text-anchor": "middle" }, minus(String(one)))); });
      ticks(up[0], up[1]).forEach(function (one) { grid.append(svg("path", { d: "M64 " + v(one) + "H748" }), svg("text", { x: 58, y: v(one) + 4, "text-anchor": "end" }, minus(String(one)))); });
      if (known.length > MOST_MARKS) { cells(known, u, v, marks); } else {
        known.forEach(function (one) {
          var mark = svg("a", { href: "#" + places.get(one.model.id), tabindex: "-1", "aria-label": one.model.id });
          mark.appendChild(svg("path", { "class": one.model.side, d: SHAPES[one.model.side], transform: "translate(" + u(one.x) + " " + v(one.y) + ")" }));
          mark.dataset.text = one.model.id + "\n" + columns[x].label + ": " + one.model.cells[x] + "\n" + columns[y].label + ": " + one.model.cells[y];
          marks.appendChild(mark);
        });
      }
    }
    plot.replaceChildren(grid, svg("text", { "class": "name", x: 406, y: 412, "text-anchor": "middle" }, columns[x].label), svg("text", { "class": "name", transform: "translate(14 193) rotate(-90)", "text-anchor": "middle" }, columns[y].label), marks);
    plot.setAttribute("aria-label", columns[y].label + " against " + columns[x].label + ", a mark a model");
    status.textContent = known.length + " of " + models.length + " models";
  }
  function cells(known, u, v, marks) {
    var width = 684 / 56, height = 358 / 32, counts = new Map(), most = 0;
    known.forEach(function (one) {
      var place = Math.min(55, Math.floor((u(one.x) - 64) / width)) + 56 * Math.min(31, Math.floor((v(one.y) - 14) / height)), cell = counts.get(place) || { n: 0 };
      cell.n += 1; cell[one.model.side] = (cell[one.model.side] || 0) + 1; most = Math.max(most, cell.n); counts.set(place, cell);
    });
    counts.forEach(function (cell, place) {
      var sides = ["robust", "normal", "unknown"].filter(function (side) { return cell[side]; }).sort(function (a, b) { return cell[b] - cell[a]; });
      var mark = svg("rect", { "class": sides[0], x: 64 + place % 56 * width, y: 14 + Math.floor(place / 56) * height, width: width, height: height, opacity: 0.2 + 0.8 * Math.sqrt(cell.n / most) });
      mark.dataset.text = sides.map(function (side) { return cell[side] + " " + side; }).join(", ");
      marks.appendChild(mark);
    });
  }
  var status = make("span", { role: "status" });
  if (plot) {
    var chartable = data.chartable, controls = make("div", { "class": "find" }), names = plot.querySelectorAll("text.name");
    ["across", "up"].forEach(function (word, which) {
      var select = make("select", { "aria-label": word });
      chartable.forEach(function (one) { select.appendChild(make("option", { value: one[0] }, word + ": " + one[1])); });
      select.selectedIndex = Math.max(0, chartable.findIndex(function (one) { return one[1] === names[which].textContent; }));
      select.addEventListener("change", drawChart);
      axes.push(select);
      controls.appendChild(select);
    });
    controls.appendChild(status);
    plot.parentNode.parentNode.insertBefore(controls, plot.parentNode);
    plot.addEventListener("mousemove", function (event) {
      var mark = event.target.closest("a, rect"), title = mark && mark.querySelector("title");
      if (title) { mark.dataset.text = title.textContent; title.remove(); }
      say(mark && mark.dataset.text, event);
    });
    plot.addEventListener("mouseleave", function () { say(""); });
  }

  /* a model's place: its section, or what the data say of it */
  var card = make("section", { "class": "model one", tabindex: "-1", "aria-live": "polite" });
  function hash() {
    try { return decodeURIComponent(location.hash.slice(1)); } catch (error) { return ""; }
  }
  function reveal() {
    var place = hash(), target = place && document.getElementById(place);
    if (target && target.tagName === "DETAILS") { target.hidden = false; target.open = true; target.scrollIntoView(); return; }
    if (!data.rows || place.indexOf("model-") !== 0) { return; }
    var fact = data.models.find(function (one) { return one[1] === place; }), model = fact && byId.get(fact[0]);
    if (!model) { return; }
    var list = make("dl", { "class": "facts" });
    columns.forEach(function (column, i) {
      if (i === NAME || !model.cells[i]) { return; }
      var part = make("div");
      part.append(make("dt", {}, column.label), make("dd", {}, model.cells[i]));
      list.appendChild(part);
    });
    card.replaceChildren(make("h3", {}, model.id), list);
    card.setAttribute("aria-label", model.id);
    cards.appendChild(card);
    card.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);
  reveal();
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
  if ("IntersectionObserver" in window) {
    var links = {};
    document.querySelectorAll("nav a").forEach(function (one) { links[one.hash.slice(1)] = one; });
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) { return; }
        Object.values(links).forEach(function (one) { one.classList.remove("here"); one.removeAttribute("aria-current"); });
        var here = links[entry.target.id];
        if (here) { here.classList.add("here"); here.setAttribute("aria-current", "true"); }
      });
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach(function (section) { observer.observe(section); });
  }
}());
