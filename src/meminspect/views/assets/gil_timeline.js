// The timeline of a GIL trace on a canvas: tiles of time while it is far, single holds and waits when it is near.
"use strict";

const gilTimeline = (() => {
  const { data, byId, number, color, redraws } = page;
  const AXIS = 22, LANE = 40, ROW = 24, LEAST_S = 1e-6, ARROWS_MOST = 600, SPANS_MOST = 40000;
  const HOLD = 1, FORCED = 1, OPEN = 2;
  let canvas, context, width = 0, height = 0, gutter = 140;
  let view = { from: 0, to: 1 }, row = 0, chosen = -1, drag = null;
  let tiles = [], spans = null, byRow = [], until = 0;

  // ---- the data, unpacked

  function bytes(text) {
    const raw = atob(text), made = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) made[at] = raw.charCodeAt(at);
    return made;
  }

  function unpack() {
    tiles = data.rows.map((one) => bytes(one.tiles));
    const column = (name, kind) => new kind(bytes(data.spans[name]).buffer);
    spans = {
      begin: column("begin", Float64Array), end: column("end", Float64Array), row: column("row", Uint16Array),
      other: column("other", Uint16Array), next: column("next", Uint16Array), kind: column("kind", Uint8Array),
      flags: column("flags", Uint8Array),
    };
    byRow = data.rows.map(() => []);
    for (let at = 0; at < spans.row.length; at++) if (spans.row[at] < byRow.length) byRow[spans.row[at]].push(at);
    for (const list of byRow) list.sort((a, b) => spans.begin[a] - spans.begin[b] || spans.end[a] - spans.end[b]);
    until = data.spans.until; // up to there every span is here
  }

  // ---- words

  function time(seconds) {
    const size = Math.abs(seconds);
    if (size >= 1) return number(seconds, size >= 100 ? 0 : 2) + " s";
    if (size >= 1e-3) return number(seconds * 1e3, 2) + " ms";
    if (size >= 1e-6) return number(seconds * 1e6, 1) + " µs";
    return number(seconds * 1e9) + " ns";
  }

  const moment = (seconds) => `${number(seconds, view.to - view.from < 1e-3 ? 9 : 6)} s`;
  const name = (thread) => (thread ? data.names[thread - 1] : null);

  function words(at) {
    const who = data.rows[spans.row[at]].name;
    const long = time(spans.end[at] - spans.begin[at]), from = `at ${moment(spans.begin[at])}`;
    const other = name(spans.other[at]), next = name(spans.next[at]), flags = spans.flags[at];
    if (spans.kind[at] === HOLD) {
      const ended = flags & OPEN ? "it had not ended with the trace" : flags & FORCED ? `forced${other ? ` by ${other}` : ""}` : "given away";
      return `${who} held the GIL for ${long} ${from}; ${ended}${next && next !== who ? `; then ${next} had it` : ""}.`;
    }
    return `${who} waited for the GIL for ${long} ${from}${other ? `, until ${other} ${flags & FORCED ? "was made to let go" : "let go"}` : ""}.`;
  }

  function say() {
    const exact = mode() === "spans";
    const here = `${time(view.to - view.from)} from ${moment(view.from)}. `;
    const what = chosen >= 0 ? words(chosen) : `${data.rows[row].name}: held ${data.rows[row].held}, waited ${data.rows[row].waited} in all.`;
    const far = exact ? "" : " Each column sums up " + time(data.tile_s * Math.max(1, tilesPerPixel())) +
      (view.to <= until ? "; go closer for single holds." : `; single holds are on this page up to ${time(until)}.`);
    byId("gil-status").textContent = here + what + far;
  }

  // ---- place

  const plot = () => width - gutter;
  const x = (seconds) => gutter + ((seconds - view.from) / (view.to - view.from)) * plot();
  const at = (px) => view.from + ((px - gutter) / plot()) * (view.to - view.from);
  const top = (index) => AXIS + LANE + index * ROW;
  const tilesPerPixel = () => (view.to - view.from) / data.tile_s / Math.max(1, plot());

  // The first in a row's spans that ends after `seconds`.
  function first(list, seconds) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans.end[list[middle]] < seconds) low = middle + 1; else high = middle;
    }
    return low;
  }

  function visible(list) {
    let low = first(list, view.from), high = low;
    while (high < list.length && spans.begin[list[high]] <= view.to) high++;
    return [low, high];
  }

  function mode() {
    if (view.from > until || view.to > until + data.tile_s) return "tiles";
    let count = 0;
    for (const list of byRow) {
      const low = first(list, view.from), high = first(list, view.to);
      count += high - low;
    }
    return count <= SPANS_MOST && (tilesPerPixel() < 0.5 || count < 3 * plot()) ? "spans" : "tiles";
  }

  // ---- drawing

  function size() {
    const frame = byId("gil-frame").clientWidth || 600;
    const ratio = devicePixelRatio || 1;
    gutter = frame < 520 ? 84 : 150;
    width = frame;
    height = AXIS + LANE + data.rows.length * ROW + 6;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw();
  }

  function drawAxis() {
    const rough = (view.to - view.from) / Math.max(2, plot() / 110), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
    const places = Math.max(0, -Math.floor(Math.log10(step)));
    context.fillStyle = color("soft");
    context.strokeStyle = color("line");
    context.textAlign = "left";
    for (let tick = Math.ceil(view.from / step) * step; tick <= view.to; tick += step) {
      const px = Math.round(x(tick)) + 0.5;
      context.beginPath();
      context.moveTo(px, AXIS - 4);
      context.lineTo(px, height);
      context.stroke();
      if (px < width - 40) context.fillText(`${tick.toFixed(Math.min(9, places))} s`, px + 3, 12);
    }
  }

  function drawNames() {
    context.fillStyle = color("ground");
    context.fillRect(0, 0, gutter, height);
    context.fillStyle = color("soft");
    context.fillText("waiting", 4, AXIS + LANE / 2);
    for (let index = 0; index < data.rows.length; index++) {
      if (index === row) {
        context.fillStyle = color("raised");
        context.fillRect(0, top(index), gutter, ROW);
      }
      context.fillStyle = index === row ? color("text") : color("soft");
      let text = data.rows[index].name;
      while (text.length > 1 && context.measureText(text).width > gutter - 10) text = text.slice(0, -2) + "…";
      context.fillText(text, 4, top(index) + ROW / 2);
    }
  }

  // Sums of tiles over each column of pixels: [held, waited], shares of the column's time.
  function column(tile, px) {
    const low = Math.max(0, at(px) / data.tile_s), high = Math.min(tile.length / 2, at(px + 1) / data.tile_s);
    if (high <= low) return [0, 0];
    if (high - low <= 1) {
      const one = Math.min(tile.length / 2 - 1, Math.floor((low + high) / 2));
      return [tile[2 * one] / 255, tile[2 * one + 1] / 255];
    }
    let held = 0, waited = 0, all = 0;
    for (let one = Math.floor(low); one < high; one++) {
      held += tile[2 * one];
      waited += tile[2 * one + 1];
      all++;
    }
    return [held / all / 255, waited / all / 255];
  }

  function drawTiles() {
    const live = color("live"), free = color("free"), full = ROW - 5;
    for (let index = 0; index < tiles.length; index++) {
      for (let px = gutter; px < width; px++) {
        const [held, waited] = column(tiles[index], px);
        const low = held && Math.max(1, held * full), over = waited && Math.max(1, waited * full);
        const bottom = top(index) + ROW - 2;
        if (low) { context.fillStyle = live; context.fillRect(px, bottom - low, 1, low); }
        if (over) { context.fillStyle = free; context.fillRect(px, bottom - Math.min(full, low + over), 1, Math.min(over, full - low)); }
      }
    }
  }

  function drawSpans() {
    const live = color("live"), free = color("free"), text = color("text");
    const ends = new Map();
    let holds = 0;
    for (let index = 0; index < byRow.length; index++) {
      const list = byRow[index], [low, high] = visible(list);
      for (let place = low; place < high; place++) {
        const one = list[place], left = Math.max(gutter, x(spans.begin[one])), right = Math.min(width, x(spans.end[one]));
        const wide = Math.max(0.7, right - left), is = spans.kind[one] === HOLD;
        context.fillStyle = is ? live : free;
        if (is) context.fillRect(left, top(index) + 3, wide, ROW - 6);
        else context.fillRect(left, top(index) + ROW / 2 - 3, wide, 6);
        if (is && spans.flags[one] & FORCED && wide > 3) {
          context.fillStyle = text;
          context.fillRect(right - 1.5, top(index) + 3, 1.5, ROW - 6);
        }
        if (is && spans.next[one] && wide > 0) { ends.set(one, index); holds++; }
        if (one === chosen) {
          context.strokeStyle = text;
          context.lineWidth = 2;
          context.strokeRect(left, top(index) + 2, wide, ROW - 4);
          context.lineWidth = 1;
        }
      }
    }
    if (holds > ARROWS_MOST) return;
    context.strokeStyle = color("soft");
    for (const [one, index] of ends) arrow(one, index);
  }

  // From the end of a hold to the beginning of the next one, when that is another thread's.
  function arrow(one, index) {
    const to = data.rows.findIndex((other) => other.thread === spans.next[one] - 1);
    if (to < 0 || to === index) return;
    const list = byRow[to];
    let place = first(list, spans.end[one]);
    while (place < list.length && !(spans.kind[list[place]] === HOLD && spans.begin[list[place]] >= spans.end[one])) place++;
    if (place === list.length) return;
    const left = x(spans.end[one]), right = x(spans.begin[list[place]]);
    if (right < gutter || left > width) return;
    const from = top(index) + (to > index ? ROW - 3 : 3), into = top(to) + (to > index ? 3 : ROW - 3), head = to > index ? -4 : 4;
    context.beginPath();
    context.moveTo(left, from);
    context.lineTo(right, into);
    context.moveTo(right - 3, into + head);
    context.lineTo(right, into);
    context.lineTo(right + 3, into + head);
    context.stroke();
  }

  // Waiting threads in each column of pixels, on average.
  function waiting(exact) {
    const made = new Float64Array(Math.max(0, Math.ceil(width - gutter)));
    if (!exact) {
      for (let px = 0; px < made.length; px++) for (const tile of tiles) made[px] += column(tile, gutter + px)[1];
      return made;
    }
    for (const list of byRow) {
      const [low, high] = visible(list);
      for (let place = low; place < high; place++) {
        const one = list[place];
        if (spans.kind[one] === HOLD) continue;
        const left = Math.max(0, x(spans.begin[one]) - gutter), right = Math.min(made.length, x(spans.end[one]) - gutter);
        for (let px = Math.floor(left); px < right; px++) made[px] += Math.min(px + 1, right) - Math.max(px, left);
      }
    }
    return made;
  }

  function drawWaiters(exact) {
    const most = Math.max(1, data.most_waiting), counts = waiting(exact);
    context.fillStyle = color("free");
    for (let px = gutter; px < width; px++) {
      const waited = counts[px - gutter];
      const tall = Math.min(1, waited / most) * (LANE - 8);
      if (tall) context.fillRect(px, AXIS + LANE - 4 - tall, 1, tall);
    }
    context.fillStyle = color("tree-1");
    for (const [begin, long] of data.collections) {
      const left = x(begin), right = x(begin + long);
      if (right >= gutter && left <= width) context.fillRect(Math.max(gutter, left), AXIS, Math.max(1, right - left), 4);
    }
  }

  function draw() {
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = color("ground");
    context.fillRect(0, 0, width, height);
    context.fillStyle = color("raised");
    context.fillRect(gutter, top(row), plot(), ROW);
    drawAxis();
    const exact = mode() === "spans";
    drawWaiters(exact);
    if (exact) drawSpans(); else drawTiles();
    drawNames();
    say();
  }

  // ---- moving

  function show(from, to) {
    const span = Math.min(data.duration_s, Math.max(LEAST_S, to - from));
    const begin = Math.min(Math.max(0, from), data.duration_s - span);
    view = { from: begin, to: begin + span };
    draw();
  }

  function zoom(times, center = (view.from + view.to) / 2) {
    show(center - (center - view.from) * times, center + (view.to - center) * times);
  }

  const pan = (share) => show(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));

  function choose(one, closer) {
    chosen = one;
    row = spans.row[one];
    const begin = spans.begin[one], end = spans.end[one], long = Math.max(end - begin, LEAST_S);
    if (closer) show(begin - 2 * long, end + 2 * long);
    else if (begin < view.from || end > view.to) {
      const half = (view.to - view.from) / 2;
      show((begin + end) / 2 - half, (begin + end) / 2 + half);
    } else draw();
  }

  // The next span of the row, before or after the chosen one, or the first that is in sight.
  function step(way) {
    const list = byRow[row];
    if (!list.length) return;
    const here = chosen >= 0 && spans.row[chosen] === row ? list.indexOf(chosen) + way : first(list, view.from);
    choose(list[Math.min(list.length - 1, Math.max(0, here))], false);
  }

  function under(px, py) {
    const index = Math.floor((py - AXIS - LANE) / ROW);
    if (index < 0 || index >= data.rows.length || px < gutter) return [index, -1];
    const list = byRow[index], slack = 2 / plot() * (view.to - view.from), [low, high] = visible(list);
    let best = -1, least = Infinity;
    for (let place = low; place < high; place++) {
      const one = list[place], away = Math.max(0, spans.begin[one] - at(px), at(px) - spans.end[one]);
      if (away <= slack && away < least) { best = one; least = away; }
    }
    return [index, mode() === "spans" ? best : -1];
  }

  const keys = {
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), "+": () => zoom(0.5), "=": () => zoom(0.5),
    "-": () => zoom(2), 0: () => show(0, data.duration_s), Home: () => show(0, view.to - view.from),
    End: () => show(data.duration_s - view.to + view.from, data.duration_s),
    ArrowUp: () => move(-1), ArrowDown: () => move(1), n: () => step(1), p: () => step(-1),
    Enter: () => (chosen >= 0 ? choose(chosen, true) : zoom(0.25)),
    Escape: () => { chosen = -1; show(0, data.duration_s); },
  };

  function move(way) {
    row = Math.min(data.rows.length - 1, Math.max(0, row + way));
    chosen = -1;
    const frame = byId("gil-frame");
    if (top(row) < frame.scrollTop) frame.scrollTop = top(row) - AXIS;
    if (top(row) + ROW > frame.scrollTop + frame.clientHeight) frame.scrollTop = top(row) + ROW - frame.clientHeight;
    draw();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function listen() {
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, at(place(event)[0]));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: place(event)[0], view, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (drag) {
        drag.moved ||= Math.abs(px - drag.x) > 4;
        const by = ((drag.x - px) / plot()) * (drag.view.to - drag.view.from);
        if (drag.moved) show(drag.view.from + by, drag.view.to + by);
        return;
      }
      const [, one] = under(px, py);
      if (one >= 0) page.showTip(words(one), event.clientX, event.clientY); else page.hideTip();
    });
    canvas.addEventListener("pointerup", (event) => {
      const moved = drag?.moved;
      drag = null;
      if (moved) return;
      const [index, one] = under(...place(event));
      if (index >= 0 && index < data.rows.length) row = index;
      chosen = one;
      draw();
    });
    canvas.addEventListener("pointercancel", () => { drag = null; });
    canvas.addEventListener("pointerleave", page.hideTip);
    canvas.addEventListener("dblclick", (event) => {
      const [px, py] = place(event), [, one] = under(px, py);
      if (one >= 0) choose(one, true); else zoom(0.25, at(px));
    });
    byId("gil-in").addEventListener("click", () => zoom(0.5));
    byId("gil-out").addEventListener("click", () => zoom(2));
    byId("gil-fit").addEventListener("click", () => show(0, data.duration_s));
    for (const button of document.querySelectorAll("[data-hold]")) {
      button.addEventListener("click", () => {
        const begin = Number(button.dataset.begin), long = Number(button.dataset.long);
        row = Math.max(0, data.rows.findIndex((one) => one.thread === Number(button.dataset.hold)));
        chosen = byRow[row].find((one) => spans.kind[one] === HOLD && Math.abs(spans.begin[one] - begin) < 1e-9) ?? -1;
        show(begin - 2 * long, begin + 3 * long);
        canvas.scrollIntoView({ block: "center" });
        canvas.focus({ preventScroll: true });
      });
    }
  }

  function start() {
    if (!byId("gil-canvas")) return;
    byId("gil-timeline").hidden = false;
    canvas = byId("gil-canvas");
    context = canvas.getContext("2d");
    unpack();
    view = { from: 0, to: data.duration_s };
    listen();
    redraws.push(draw);
    new ResizeObserver(size).observe(byId("gil-frame"));
    size();
  }

  return { start, view: () => ({ ...view, mode: mode(), row, chosen }) };
})();
