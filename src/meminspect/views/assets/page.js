// What the parts of the page share: the data, the theme, the tip at the pointer, the drawers of ECharts, the tree.
"use strict";

const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const redraws = []; // called when the colours changed

  // ---- figures, worded as in analysis/words.py

  const number = (value, digits = 0) =>
    value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

  function size(bytes) {
    const mib = 1 << 20, kib = 1 << 10;
    if (bytes >= 10 * mib) return number(bytes / mib) + " MiB";
    if (bytes >= mib) return number(bytes / mib, 1) + " MiB";
    if (bytes >= 10 * kib) return number(bytes / kib) + " KiB";
    if (bytes >= kib) return number(bytes / kib, 1) + " KiB";
    return number(bytes) + (bytes === 1 ? " byte" : " bytes");
  }

  function percent(share) {
    const value = share * 100;
    if (value > 0 && value < 0.05) return "< 0.1 %";
    if (value < 100 && value > 99.95) return "> 99.9 %";
    return value.toFixed(1) + " %";
  }

  // ---- elements: text only, never markup

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function shape(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // ---- theme: the system's until the button is used

  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const isDark = () => (chosen === null ? prefersDark.matches : chosen);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  function applyTheme() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    const button = byId("theme");
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
    for (const redraw of redraws) redraw();
  }

  function startTheme() {
    byId("theme").hidden = false;
    byId("theme").addEventListener("click", () => { chosen = !isDark(); applyTheme(); });
    prefersDark.addEventListener("change", () => { if (chosen === null) applyTheme(); });
    applyTheme();
  }

  // ---- the tip

  function showTip(text, x, y) {
    const tip = byId("tip");
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 6)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18) + "px";
  }
  const hideTip = () => { byId("tip").hidden = true; };

  function chartIn(id, option) {
    const place = byId(id);
    place.hidden = false;
    const chart = echarts.init(place, null, { renderer: "canvas" });
    const redraw = () => chart.setOption(option(), true);
    redraws.push(redraw);
    new ResizeObserver(() => chart.resize()).observe(place);
    chart.on("mousemove", (event) => {
      if (event.data?.tip) showTip(event.data.tip, event.event.event.clientX, event.event.event.clientY);
    });
    chart.on("mouseout", hideTip);
    chart.getZr().on("globalout", hideTip);
    redraw();
    return { chart, redraw };
  }

  // ---- the tree: a treemap for the eye, buttons for the keys, both at the same node

  function startTree() {
    const root = data.tree;
    if (!root) return;
    const isFree = (name) => /^(free|top of|untouched|never used)|\bfree\b/.test(name);
    let path = []; // places of children, from the root down
    const nodesOf = (places) => places.reduce((nodes, place) => [...nodes, nodes.at(-1).children[place]], [root]);

    const hue = (top) => color(top < 5 ? "tree-" + top : "tree-rest");
    const pale = (base) => echarts.color.lerp(0.62, [base, color("ground")]);

    function item(node, places, depth) {
      const base = hue(places[0] ?? 0);
      const free = isFree(node.name);
      const made = {
        name: node.name, value: node.bytes, path: places,
        tip: `${node.name}\n${size(node.bytes)} (${number(node.bytes)} bytes)\n${percent(node.bytes / root.bytes)} of RSS` +
          (node.count ? `\n${number(node.count)} in number` : ""),
        itemStyle: { color: free ? pale(base) : base, ...(node.children && depth < 2 ? { borderColor: base } : {}) },
        label: { color: free ? color("text") : "#ffffff" },
      };
      if (node.children && depth < 2) {
        made.children = node.children.map((child, at) => item(child, [...places, at], depth + 1));
      }
      return made;
    }

    function option() {
      const node = nodesOf(path).at(-1);
      return {
        animation: false,
        series: [{
          type: "treemap", roam: false, nodeClick: false, breadcrumb: { show: false },
          left: 0, right: 0, top: 0, bottom: 0, visibleMin: 30, childrenVisibleMin: 400,
          data: (node.children ?? []).map((child, at) => item(child, [...path, at], 0)),
          label: { formatter: (at) => `${at.name}\n${size(at.value)}`, fontSize: 13, lineHeight: 17, overflow: "truncate" },
          upperLabel: { show: true, height: 22, color: "#ffffff", formatter: (at) => `${at.name} · ${size(at.value)}` },
          itemStyle: { borderColor: color("ground"), borderWidth: 1, gapWidth: 1 },
          levels: [
            { itemStyle: { borderWidth: 0, gapWidth: 3 }, upperLabel: { show: false } },
            { itemStyle: { borderWidth: 2, gapWidth: 2 } },
            { itemStyle: { borderWidth: 1, gapWidth: 1 } },
          ],
        }],
      };
    }

    const { chart, redraw } = chartIn("treemap", option);

    function go(places, focus) {
      path = places;
      redraw();
      const nodes = nodesOf(path);
      const bar = byId("path");
      bar.replaceChildren(...nodes.flatMap((node, at) => {
        const last = at === nodes.length - 1;
        const name = at === 0 ? "RSS" : node.name;
        const here = `${name} ${size(node.bytes)}`;
        const part = last
          ? element("span", { "aria-current": "true" }, here)
          : element("button", { type: "button", onclick: () => go(path.slice(0, at), true) }, name);
        return at ? ["›", part] : [part];
      }));
      bar.hidden = false;
      table(nodes.at(-1), focus);
      hideTip();
    }

    function table(node, focus) {
      const body = byId("tree-table").querySelector("tbody");
      const rows = (node.children ?? []).map((child, at) => {
        const opens = Boolean(child.children);
        const name = opens
          ? element("button", { type: "button", onclick: () => go([...path, at], true) }, child.name + " ›")
          : child.name;
        const bar = shape("svg", { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
          shape("rect", { width: (100 * child.bytes) / root.bytes, height: 8 }));
        return element("tr", {},
          element("th", { scope: "row" }, name),
          element("td", { class: "n" }, child.count ? number(child.count) : ""),
          element("td", { class: "n" }, number(child.bytes / (1 << 20), 2)),
          element("td", { class: "n" }, percent(child.bytes / root.bytes)),
          element("td", { class: "wide" }, bar));
      });
      body.replaceChildren(...rows);
      if (focus) (body.querySelector("button") ?? byId("path").querySelector("button"))?.focus();
    }

    chart.on("click", (event) => {
      const places = event.data?.path;
      if (!places) return;
      const nodes = nodesOf(places);
      const inside = nodes.at(-1).children ? places : places.slice(0, -1);
      if (inside.length > path.length) go(inside, false);
    });
    byId("tree-table").closest("section").addEventListener("keydown", (event) => {
      if ((event.key === "Escape" || event.key === "Backspace") && path.length) {
        event.preventDefault();
        go(path.slice(0, -1), true);
      }
    });
    go([], false);
  }

  // ---- size classes

  function startClasses() {
    const rows = data.classes;
    if (!byId("classes") || !rows.length) return;
    byId("classes").style.height = `${Math.max(9, Math.min(rows.length, 48) * 1.15 + 3)}rem`;
    const shown = rows.length <= 48 ? rows : [...rows].sort((a, b) => b.used_bytes + b.free_bytes - a.used_bytes - a.free_bytes).slice(0, 48);
    const one = (name, bytes, count) => ({
      name, type: "bar", stack: "bytes", barCategoryGap: "25%", itemStyle: { color: color(name) },
      data: shown.map((row) => ({
        value: row[bytes],
        tip: `${number(row.size)} bytes\n${number(row.used)} live: ${size(row.used_bytes)}\n${number(row.free)} free: ${size(row.free_bytes)}\nin ${number(row.pools)} ${data.words[1]}s`,
      })),
    });
    const most = Math.max(...shown.map((row) => row.used_bytes + row.free_bytes));
    chartIn("classes", () => ({
      animation: false,
      grid: { left: 8, right: 16, top: 8, bottom: 4, containLabel: true },
      textStyle: { fontFamily: "inherit" },
      yAxis: {
        type: "category", inverse: true, data: shown.map((row) => number(row.size)), axisTick: { show: false },
        axisLabel: { color: color("soft"), interval: 0, fontSize: 11 }, axisLine: { lineStyle: { color: color("line") } },
      },
      xAxis: {
        type: "value", interval: 2 ** Math.max(0, Math.ceil(Math.log2(most / 5))), axisLabel: { color: color("soft"), formatter: (bytes) => (bytes ? size(bytes) : "0"), hideOverlap: true },
        splitLine: { lineStyle: { color: color("line") } },
      },
      series: [one("live", "used_bytes"), one("free", "free_bytes")],
    }));
  }

  return { data, byId, number, size, percent, element, shape, color, isDark, redraws, showTip, hideTip, chartIn, startTheme, startTree, startClasses };
})();
