(function () {
  "use strict";
  var config = /*CONFIG*/;
  var input = document.getElementById("q"), answer = document.getElementById("answer");
  var words = null, shards = {}, waiting = null;

  window.strataWords = function (told) { words = told; };
  window.strataCustomers = function (customers) { waiting = customers; };

  function both(parent, pair) {
    var same = pair[0] === pair[1];
    var zh = document.createElement("span"), en, space;
    zh.textContent = pair[0];
    parent.appendChild(zh);
    if (same) { return; }
    zh.lang = "zh-Hans";
    space = document.createElement("span"); space.className = "sp"; space.textContent = " ";
    en = document.createElement("span"); en.lang = "en"; en.textContent = pair[1];
    parent.appendChild(space); parent.appendChild(en);
  }
  function element(parent, tag, pair) {
    var made = document.createElement(tag);
    if (typeof pair === "string") { made.textContent = pair; } else if (pair) { both(made, pair); }
    parent.appendChild(made);
    return made;
  }
  function say(pair) { answer.textContent = ""; element(answer, "p", pair).className = "gap"; }

  function load(name, then) {
    var script = document.createElement("script");
    script.src = "customers/" + name + ".js";
    script.charset = "utf-8";
    script.onload = function () { script.remove(); then(true); };
    script.onerror = function () { script.remove(); then(false); };
    document.head.appendChild(script);
  }
  function scheme(code) { return config.schemes[code] || [code, code]; }
  function label(in_scheme, code) { return ((words.classes[in_scheme] || {})[code]) || [code, code]; }
  function reason(in_scheme, told) {
    var parts = told.split("|"), family = in_scheme.indexOf("custom:") === 0 ? "custom" : in_scheme;
    var pair = words.reasons[family + "|" + parts[0]];
    if (!pair) { return [parts.join(" "), parts.join(" ")]; }
    return pair.map(function (text) {
      return text.replace(/\{([1-5])\}/g, function (whole, k) { return parts[k] === undefined ? whole : parts[k]; });
    });
  }
  function show(key, customer) {
    var head, table, body, action = customer.a && words.actions[customer.a];
    answer.textContent = "";
    // It may be wider than its place: the arrow keys move it.
    answer.tabIndex = 0;
    head = element(answer, "p"); head.className = "finding";
    both(head, config.words.of); element(head, "code", " " + key.slice(0, 4) + "…" + key.slice(-4));
    if (action) {
      head = element(answer, "p"); both(head, config.words.action);
      head.appendChild(document.createTextNode(" "));
      both(element(head, "b"), action);
    }
    if (customer.r) {
      head = element(answer, "p"); both(head, config.words.refused);
      customer.r.split("|").forEach(function (word, k) {
        var said = word.split(":"), channel = config.channels[said[0]] || [said[0], said[0]];
        var by = config.refusals[said[1]];
        head.appendChild(document.createTextNode(k ? ", " : " "));
        both(head, [channel[0] + "（" + by[0] + "）", channel[1] + " (" + by[1] + ")"]);
      });
    }
    table = element(answer, "table"); table.className = "slim";
    head = element(element(table, "thead"), "tr");
    ["scheme", "class", "since", "why"].forEach(function (name) { element(head, "th", config.words[name]).scope = "col"; });
    body = element(table, "tbody");
    customer.c.forEach(function (row) {
      var line = element(body, "tr");
      element(line, "th", scheme(row[0])).scope = "row";
      element(line, "td", label(row[0], row[1]));
      element(line, "td", row[2]).className = "day";
      element(line, "td", reason(row[0], row[3]));
    });
  }
  function find() {
    var key = input.value.trim().toLowerCase(), shard = key.slice(0, config.digits);
    function look() {
      var customer = Object.prototype.hasOwnProperty.call(shards[shard], key) && shards[shard][key];
      if (!words) { say(config.words.broken); } else if (customer) { show(key, customer); } else { say(config.words.none); }
    }
    function fetched() {
      if (shards[shard]) { look(); return; }
      waiting = null;
      load(shard, function () { shards[shard] = waiting || {}; look(); });
    }
    if (!/^[0-9a-f]{32}$/.test(key)) { say(config.words.ask); return; }
    if (words) { fetched(); } else { load("words", fetched); }
  }
  function linked() {
    var asked = /^#customer=([0-9a-f]{32})$/.exec(location.hash);
    if (asked) { input.value = asked[1]; find(); document.getElementById("search").scrollIntoView(); }
  }
  document.getElementById("find").addEventListener("click", find);
  window.addEventListener("hashchange", linked);
  input.addEventListener("keydown", function (event) { if (event.key === "Enter") { find(); } });
  linked();
}());
