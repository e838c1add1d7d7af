// The arenas on a canvas: every pool a cell, every arena a square of cells, and, close enough, every block.
//
// A world of cells is drawn once into a small picture (one pixel a cell) whenever colours change; what is on the screen
// is that picture, scaled, and on top of it what only shows from near: borders, blocks, the chosen one.
"use strict";

const heapMap = (() => {
  const NOTHING = 0xffff;
  const FREE_POOL = -1, NEVER_USED = -2, GAP = -3;
  const BLOCK_PIXELS = 34; // a cell this wide shows its blocks
  const MOST_PIXELS = 900; // a cell is never wider
  const heap = page.data.heap;
  const [arenaWord, poolWord] = page.data.words;
  const canvas = page.byId("map-canvas");

  // ---- the tables

  async function unpack(packed) {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream");
    const bytes = Uint8Array.from(atob(packed.data), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    const kinds = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
    return Object.fromEntries(packed.columns.map((c) => [c.name, new kinds[c.width](buffer, c.at, c.count)]));
  }

  let t; // columns by name
  let firstPool, firstBlock; // by arena: place of its first pool; where its bitmap begins, or -1
  let firstContent; // by arena: place of the content of its first live block, or -1
  let cols, rows, across, order, placeOf; // cells of an arena; arenas in a line, and which arena lies where

  const arenaCount = () => t.arena_low.length;
  const address = (arena) => t.arena_high[arena] * 2 ** 32 + t.arena_low[arena];
  const hex = (value) => "0x" + value.toString(16);
  const bytesOf = (arena) => t.arena_size[arena] * 4096;
  const occupancy = (arena) => t.arena_used[arena] / bytesOf(arena);
  const blockSize = (pool) => heap.sizes[t.pool_class[pool]];
  const isFree = (pool) => t.pool_class[pool] === NOTHING;

  function index() {
    firstPool = new Uint32Array(arenaCount() + 1);
    for (let arena = 0; arena < arenaCount(); arena++) firstPool[arena + 1] = firstPool[arena] + t.arena_pools[arena];
    firstBlock = new Int32Array(arenaCount()).fill(-1);
    firstContent = new Int32Array(arenaCount()).fill(-1);
    let at = 0, content = 0;
    for (const arena of t.told ?? []) {
      firstContent[arena] = content;
      content += t.arena_blocks[arena];
    }
    for (const arena of t.drawn) {
      firstBlock[arena] = at;
      at += bytesOf(arena) / 128;
    }
    const slots = Math.max(...Array.from(t.arena_size, (pages) => Math.ceil((pages * 4096) / heap.pool_size)));
    cols = Math.ceil(Math.sqrt(slots));
    rows = Math.ceil(slots / cols);
  }

  // ---- what lies where: cells of one arena, `slots[place]` is a pool, or FREE_POOL, NEVER_USED, GAP

  function slotsOf(arena) {
    const slots = new Int32Array(cols * rows).fill(GAP);
    const count = Math.min(slots.length, Math.floor(bytesOf(arena) / heap.pool_size));
    const known = t.arena_pools[arena] > 0;
    let last = -1;
    for (let pool = firstPool[arena]; pool < firstPool[arena + 1]; pool++) {
      const from = Math.floor((t.pool_offset[pool] * 4096) / heap.pool_size);
      const to = pool + 1 < firstPool[arena + 1]
        ? Math.floor((t.pool_offset[pool + 1] * 4096) / heap.pool_size) : heap.header === null ? count : from + 1;
      for (let slot = from; slot < to && slot < slots.length; slot++) slots[slot] = pool;
      last = Math.max(last, to - 1);
    }
    if (known || !heap.without_pools) {
      for (let slot = last + 1, left = t.arena_pools_never_used[arena]; left > 0 && slot < count; slot++, left--) slots[slot] = NEVER_USED;
    }
    return slots;
  }

  let cells; // by arena: its slots
  const hasPools = (arena) => t.arena_pools[arena] > 0 || t.arena_pools_never_used[arena] > 0;

  // ---- colours

  let mode = "occupancy";
  const hidden = new Set(); // keys of the legend that are dimmed
  const limits = [0.25, 0.5, 0.75];
  const stepOf = (share) => (share <= 0 ? 0 : 1 + limits.filter((limit) => share >= limit).length);
  const stepColor = (step) => page.data.occupancy[step][page.isDark() ? "dark" : "light"];
  const classes = page.data.classes.map((row) => row.index);

  function ramp(place, count) {
    const at = count > 1 ? place / (count - 1) : 0.5;
    const lightness = (page.isDark() ? 58 : 46) + [0, 12, -10][place % 3]; // neighbours differ
    return `hsl(${Math.round(255 - 225 * at)} 58% ${lightness}%)`;
  }

  const contentKey = (id) => (id === NOTHING ? "content unknown" : id < page.data.contents.length ? "content " + id : "content other");
  const contentColor = (id) => (id === NOTHING ? page.color("text") : id < page.data.contents.length
    ? page.data.contents[id][page.isDark() ? "dark" : "light"] : page.color("soft"));
  const emptyColor = () => stepColor(0);
  const untouchedColor = () => page.color("line");

  function keyOfPool(pool) {
    if (pool === FREE_POOL || isFree(pool)) return "free";
    if (mode === "class") return "class " + t.pool_class[pool];
    if (mode === "content") return contentKey(t.pool_content[pool]);
    return "step " + stepOf(share(pool));
  }

  function share(pool) {
    const total = t.pool_used[pool] + t.pool_free[pool];
    return total ? t.pool_used[pool] / total : 0;
  }

  function colorOfPool(pool) {
    if (isFree(pool)) return emptyColor();
    if (mode === "content") return contentColor(t.pool_content[pool]);
    return mode === "class"
      ? ramp(classes.indexOf(t.pool_class[pool]), classes.length) : stepColor(stepOf(share(pool)));
  }

  const parse = (() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const known = new Map();
    return (text) => {
      if (!known.has(text)) {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = text;
        context.fillRect(0, 0, 1, 1);
        known.set(text, context.getImageData(0, 0, 1, 1).data);
      }
      return known.get(text);
    };
  })();

  // ---- the small picture

  const picture = document.createElement("canvas");

  function paint() {
    const lines = Math.ceil(arenaCount() / across);
    picture.width = across * (cols + 1);
    picture.height = lines * (rows + 1);
    const context = picture.getContext("2d");
    const image = context.createImageData(picture.width, picture.height);
    const colorOfSlot = new Map();
    const put = (x, y, text, dim) => {
      const rgba = parse(text), at = (y * picture.width + x) * 4;
      image.data[at] = rgba[0]; image.data[at + 1] = rgba[1]; image.data[at + 2] = rgba[2];
      image.data[at + 3] = dim ? 30 : 255;
    };
    for (let arena = 0; arena < arenaCount(); arena++) {
      const left = (placeOf[arena] % across) * (cols + 1), top = Math.floor(placeOf[arena] / across) * (rows + 1);
      if (!hasPools(arena)) { // one colour for all of it
        const step = stepOf(occupancy(arena));
        for (let y = 0; y < rows; y++) for (let x = 0; x < cols; x++) put(left + x, top + y, stepColor(step), hidden.has("step " + step));
        continue;
      }
      const slots = cells[arena];
      for (let slot = 0; slot < slots.length; slot++) {
        const pool = slots[slot];
        if (pool === GAP) continue;
        const x = left + (slot % cols), y = top + Math.floor(slot / cols);
        if (pool === NEVER_USED) put(x, y, untouchedColor(), hidden.has("never"));
        else {
          const key = keyOfPool(pool);
          if (!colorOfSlot.has(key)) colorOfSlot.set(key, colorOfPool(pool));
          put(x, y, colorOfSlot.get(key), hidden.has(key));
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  // ---- the view

  const view = { scale: 1, x: 0, y: 0 }; // pixels of a cell; the world's origin on the canvas
  let width = 0, height = 0, fitScale = 1;
  let chosen = { arena: -1, slot: -1, block: -1 };

  function measure() {
    const box = canvas.getBoundingClientRect();
    const ratio = Math.min(devicePixelRatio || 1, 3);
    width = box.width; height = box.height;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  function arrange() {
    across = Math.max(1, Math.min(arenaCount(), Math.round(Math.sqrt((arenaCount() * (width / height) * (rows + 1)) / (cols + 1)))));
    order = Array.from({ length: arenaCount() }, (_, arena) => arena);
    if (page.byId("map-order").value === "need") order.sort((a, b) => occupancy(a) - occupancy(b));
    placeOf = new Uint32Array(arenaCount());
    order.forEach((arena, place) => { placeOf[arena] = place; });
    paint();
  }

  function fit() {
    fitScale = Math.min((width - 12) / (picture.width - 1), (height - 12) / (picture.height - 1));
    fitScale = Math.min(fitScale, 40);
    view.scale = fitScale;
    center();
    draw();
  }

  function center() {
    view.x = (width - (picture.width - 1) * view.scale) / 2;
    view.y = (height - (picture.height - 1) * view.scale) / 2;
  }

  function keepInside() {
    const w = picture.width * view.scale, h = picture.height * view.scale;
    view.x = w < width ? (width - w + view.scale) / 2 : Math.min(12, Math.max(width - w - 12, view.x));
    view.y = h < height ? (height - h + view.scale) / 2 : Math.min(12, Math.max(height - h - 12, view.y));
    canvas.style.touchAction = view.scale > fitScale * 1.01 ? "none" : "pan-y";
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const scale = Math.max(fitScale, Math.min(MOST_PIXELS, view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    keepInside();
    draw();
  }

  function closeUp(x, y, w, h) { // cells of the world
    view.scale = Math.max(fitScale, Math.min(MOST_PIXELS, 0.92 * Math.min(width / w, height / h)));
    view.x = width / 2 - (x + w / 2) * view.scale;
    view.y = height / 2 - (y + h / 2) * view.scale;
    keepInside();
    draw();
  }

  const originOf = (arena) => [(placeOf[arena] % across) * (cols + 1), Math.floor(placeOf[arena] / across) * (rows + 1)];

  // ---- drawing

  let asked = false;
  function draw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; drawNow(); });
  }

  function drawNow() {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = view.scale < 1;
    context.drawImage(picture, view.x, view.y, picture.width * view.scale, picture.height * view.scale);
    if (view.scale >= 7) drawNear(context);
    outline(context);
  }

  function drawNear(context) {
    const line = page.color("raised");
    const size = view.scale;
    const gap = Math.min(3, size / 12);
    for (let arena = 0; arena < arenaCount(); arena++) {
      const [left, top] = originOf(arena);
      const x0 = view.x + left * size, y0 = view.y + top * size;
      if (x0 > width || y0 > height || x0 + cols * size < 0 || y0 + rows * size < 0) continue;
      if (!hasPools(arena)) continue;
      context.fillStyle = line;
      for (let col = 1; col < cols; col++) context.fillRect(x0 + col * size - gap / 2, y0, gap, rows * size);
      for (let row = 1; row < rows; row++) context.fillRect(x0, y0 + row * size - gap / 2, cols * size, gap);
      if (size < BLOCK_PIXELS) continue;
      context.fillRect(x0 - gap, y0 - gap, cols * size + 2 * gap, gap * 1.5);
      context.fillRect(x0 - gap, y0 - gap, gap * 1.5, rows * size + 2 * gap);
      context.fillRect(x0 - gap, y0 + rows * size - gap / 2, cols * size + 2 * gap, gap * 1.5);
      context.fillRect(x0 + cols * size - gap / 2, y0 - gap, gap * 1.5, rows * size + 2 * gap);
      const slots = cells[arena];
      for (let slot = 0; slot < slots.length; slot++) {
        const x = x0 + (slot % cols) * size, y = y0 + Math.floor(slot / cols) * size;
        if (slots[slot] < 0 || isFree(slots[slot]) || x > width || y > height || x + size < 0 || y + size < 0) continue;
        if (mode === "content" || !hidden.has(keyOfPool(slots[slot]))) drawPool(context, arena, slots[slot], x + gap / 2, y + gap / 2, size - gap);
      }
    }
  }

  function drawPool(context, arena, pool, x, y, size) {
    const total = t.pool_used[pool] + t.pool_free[pool];
    context.fillStyle = page.color("ground");
    context.fillRect(x, y, size, size);
    if (firstBlock[arena] < 0 || !total) { // not block by block: filled from below as far as it is live
      context.fillStyle = emptyColor();
      context.fillRect(x, y, size, size);
      context.fillStyle = colorOfPool(pool);
      if (!hidden.has(keyOfPool(pool))) context.fillRect(x, y + size * (1 - share(pool)), size, size * share(pool));
      return;
    }
    const grid = Math.ceil(Math.sqrt(total)), step = size / grid, side = Math.max(step * 0.5, step - Math.min(1.5, step * 0.2));
    const untouchedFrom = total - t.pool_untouched[pool];
    const live = mode === "class" ? colorOfPool(pool) : page.color("live");
    const empty = emptyColor(), untouched = untouchedColor();
    let ordinal = mode === "content" ? contentBefore(arena, pool) : 0;
    for (let block = 0; block < total; block++) {
      const used = isLive(arena, pool, block);
      context.fillStyle = used ? live : block >= untouchedFrom ? untouched : empty;
      if (used && mode === "content") {
        const id = ordinal < 0 ? t.pool_content[pool] : t.content[ordinal++];
        context.fillStyle = hidden.has(contentKey(id)) ? page.color("raised") : contentColor(id);
      }
      context.fillRect(x + (block % grid) * step, y + Math.floor(block / grid) * step, side, side);
    }
  }

  const offsetOf = (pool, block) => t.pool_offset[pool] * 4096 + heap.header + block * blockSize(pool);

  function isLive(arena, pool, block) {
    const offset = offsetOf(pool, block);
    return Boolean((t.blocks[firstBlock[arena] + (offset >> 7)] >> ((offset >> 4) & 7)) & 1);
  }

  function contentBefore(arena, pool) {
    let ordinal = firstContent[arena];
    if (ordinal < 0) return -1;
    for (let other = firstPool[arena]; other < pool; other++) if (!isFree(other)) ordinal += t.pool_used[other];
    return ordinal;
  }

  function contentOf(arena, pool, block) {
    if (!t.content) return null; // no census
    let ordinal = contentBefore(arena, pool);
    if (ordinal < 0) return null; // not in this page
    for (let before = 0; before < block; before++) ordinal += isLive(arena, pool, before);
    const id = t.content[ordinal];
    return id === NOTHING ? "content unknown" : heap.contents[id];
  }

  function outline(context) {
    if (chosen.arena < 0) return;
    const [left, top] = originOf(chosen.arena);
    let x = view.x + left * view.scale, y = view.y + top * view.scale, w = cols * view.scale, h = rows * view.scale;
    if (chosen.slot >= 0) {
      x += (chosen.slot % cols) * view.scale; y += Math.floor(chosen.slot / cols) * view.scale;
      w = h = view.scale;
      if (chosen.block >= 0) {
        const box = blockBox(chosen.arena, cells[chosen.arena][chosen.slot], chosen.block);
        x += box.x; y += box.y; w = h = box.size;
      }
    }
    context.lineWidth = 4; context.strokeStyle = page.color("ground");
    context.strokeRect(x - 2, y - 2, w + 4, h + 4);
    context.lineWidth = 2; context.strokeStyle = page.color("text");
    context.strokeRect(x - 2, y - 2, w + 4, h + 4);
  }

  function blockBox(arena, pool, block) {
    const gap = Math.min(3, view.scale / 12), size = view.scale - gap;
    const grid = Math.ceil(Math.sqrt(t.pool_used[pool] + t.pool_free[pool]));
    return { x: gap / 2 + ((block % grid) * size) / grid, y: gap / 2 + (Math.floor(block / grid) * size) / grid, size: size / grid };
  }

  // ---- what is at a point, and what is to be said of it

  function at(x, y) {
    const wx = (x - view.x) / view.scale, wy = (y - view.y) / view.scale;
    const col = Math.floor(wx / (cols + 1)), row = Math.floor(wy / (rows + 1));
    const inX = Math.floor(wx - col * (cols + 1)), inY = Math.floor(wy - row * (rows + 1));
    const arena = wx < 0 || wy < 0 || col >= across || inX >= cols || inY >= rows ? undefined : order[row * across + col];
    if (arena === undefined) return null;
    const found = { arena, slot: hasPools(arena) ? inY * cols + inX : -1, block: -1 };
    const pool = found.slot < 0 ? GAP : cells[arena][found.slot];
    if (pool === GAP) found.slot = -1;
    if (pool >= 0 && !isFree(pool) && view.scale >= BLOCK_PIXELS && firstBlock[arena] >= 0) {
      const total = t.pool_used[pool] + t.pool_free[pool], grid = Math.ceil(Math.sqrt(total));
      const gap = Math.min(3, view.scale / 12), step = (view.scale - gap) / grid;
      const bx = Math.floor(((wx - Math.floor(wx)) * view.scale - gap / 2) / step);
      const by = Math.floor(((wy - Math.floor(wy)) * view.scale - gap / 2) / step);
      const block = by * grid + bx;
      if (bx >= 0 && by >= 0 && bx < grid && block < total) found.block = block;
    }
    return found;
  }

  const plural = (count, noun) => `${page.number(count)} ${noun}${count === 1 ? "" : "s"}`;

  function describe(found) {
    const { arena, slot, block } = found;
    const lines = [];
    const pool = slot < 0 ? GAP : cells[arena][slot];
    if (block >= 0) {
      const live = isLive(arena, pool, block);
      const untouched = block >= t.pool_used[pool] + t.pool_free[pool] - t.pool_untouched[pool];
      lines.push(`Block ${block} at ${hex(address(arena) + offsetOf(pool, block))}: ${page.number(blockSize(pool))} bytes, ` +
        (live ? "live" : untouched ? "never handed out" : "free"));
      const content = live ? contentOf(arena, pool, block) : null;
      if (content) lines.push(content);
    }
    if (slot >= 0 && pool !== GAP) {
      const start = hex(address(arena) + (pool >= 0 ? t.pool_offset[pool] * 4096 : slot * heap.pool_size));
      const name = poolWord[0].toUpperCase() + poolWord.slice(1);
      if (pool === NEVER_USED) lines.push(`${name} ${slot}: never used`);
      else if (isFree(pool)) lines.push(`${name} at ${start}: free, for any size class`);
      else {
        lines.push(`${name} at ${start}: blocks of ${page.number(blockSize(pool))} bytes, ` +
          `${page.number(t.pool_used[pool])} live, ${page.number(t.pool_free[pool])} free` +
          (t.pool_untouched[pool] ? ` (${page.number(t.pool_untouched[pool])} never handed out)` : "") +
          (t.pool_content && t.pool_content[pool] !== NOTHING ? `, mostly ${heap.contents[t.pool_content[pool]]}` : ""));
      }
    }
    const whole = `${arenaWord[0].toUpperCase()}${arenaWord.slice(1)} at ${hex(address(arena))}: ${page.percent(occupancy(arena))} live, ` +
      `${plural(t.arena_blocks[arena], "block")} (${page.size(t.arena_used[arena])}), ${page.size(t.arena_free[arena])} in free blocks, ` +
      `${plural(t.arena_pools_free[arena], "free " + poolWord)}` +
      (interpreters > 1 ? `, interpreter ${t.arena_interpreter[arena]}` : "");
    lines.push(whole);
    if (!hasPools(arena)) lines.push(`Its ${poolWord}s are not in this page`);
    else if (pool >= 0 && !isFree(pool) && firstBlock[arena] < 0 && heap.header !== null && t.drawn.length) lines.push("Its blocks are not in this page");
    return lines;
  }

  let interpreters = 1;

  function choose(found, say = true) {
    chosen = found;
    if (say) page.byId("map-status").textContent = describe(found).join(". ") + ".";
    draw();
  }

  // ---- legend

  function legend() {
    const items = mode === "class"
      ? classes.map((index, place) => ["class " + index, page.number(heap.sizes[index]), ramp(place, classes.length)])
      : mode === "content"
      ? page.data.contents.map((_, id) => ["content " + id, heap.contents[id], contentColor(id)])
        .concat([["content other", "anything else", contentColor(NOTHING - 1)], ["content unknown", "unknown", contentColor(NOTHING)]])
      : page.data.occupancy.map((step, place) => ["step " + place, step.label + (place ? " live" : ""), stepColor(place)]).slice(1);
    items.push(["free", `free ${poolWord}`, emptyColor()]);
    if (t.arena_pools_never_used.some((count) => count)) items.push(["never", "never used", untouchedColor()]);
    page.byId("map-legend").replaceChildren(...items.map(([key, label, color]) => {
      const mark = page.shape("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, page.shape("rect", { width: 10, height: 10, rx: 2, fill: color }));
      return page.element("button", { type: "button", "aria-pressed": String(!hidden.has(key)), "data-key": key, onclick: () => toggle(key, items.map((item) => item[0])) }, mark, label);
    }));
  }

  // The first press shows one kind alone; further ones add and remove; nothing left shows all.
  function toggle(key, keys) {
    if (hidden.size === 0) keys.filter((other) => other !== key).forEach((other) => hidden.add(other));
    else if (hidden.has(key)) hidden.delete(key);
    else hidden.add(key);
    if (keys.every((other) => hidden.has(other))) hidden.clear();
    recolor();
    [...page.byId("map-legend").children].find((button) => button.dataset.key === key)?.focus();
  }

  function recolor() {
    paint();
    legend();
    draw();
  }

  // ---- pointer and keys

  function watchPointer() {
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const fingers = new Map();
    let moved = 0, spread = 0;
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, point(event));
      moved = 0;
      spread = 0;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = point(event);
      const before = fingers.get(event.pointerId);
      if (!before) {
        const found = at(x, y);
        if (found) page.showTip(describe(found).join("\n"), event.clientX, event.clientY);
        else page.hideTip();
        return;
      }
      fingers.set(event.pointerId, [x, y]);
      page.hideTip();
      if (fingers.size === 2) {
        const [a, b] = [...fingers.values()];
        const now = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (spread) zoom(now / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        spread = now;
        moved = 99;
        return;
      }
      moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
      view.x += x - before[0];
      view.y += y - before[1];
      keepInside();
      draw();
    });
    const up = (event) => {
      if (fingers.delete(event.pointerId) && moved < 5 && event.type === "pointerup") {
        const found = at(...point(event));
        if (found) choose(found);
      }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", page.hideTip);
    canvas.addEventListener("dblclick", (event) => {
      const found = at(...point(event));
      if (found) closer(found);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), ...point(event));
    }, { passive: false });
  }

  // From all arenas to one, from there to one of its pools.
  function closer(found) {
    const [left, top] = originOf(found.arena);
    const close = view.scale * cols > Math.min(width, height) * 0.6;
    if (!close || found.slot < 0) {
      closeUp(left, top, cols, rows);
      choose({ arena: found.arena, slot: close ? found.slot : -1, block: -1 });
    } else {
      closeUp(left + (found.slot % cols), top + Math.floor(found.slot / cols), 1, 1);
      choose(found);
    }
  }

  function farther() {
    if (chosen.slot >= 0 && view.scale > Math.min(width, height) / cols) {
      const [left, top] = originOf(chosen.arena);
      closeUp(left, top, cols, rows);
      choose({ ...chosen, block: -1 });
    } else if (chosen.slot >= 0) choose({ arena: chosen.arena, slot: -1, block: -1 });
    else fit();
  }

  function move(dx, dy) {
    if (chosen.arena < 0) return choose({ arena: order[0], slot: -1, block: -1 });
    const [left, top] = originOf(chosen.arena);
    const pool = chosen.slot >= 0 ? cells[chosen.arena][chosen.slot] : GAP;
    if (chosen.block >= 0) {
      const total = t.pool_used[pool] + t.pool_free[pool];
      const next = chosen.block + dx + dy * Math.ceil(Math.sqrt(total));
      if (next >= 0 && next < total) choose({ ...chosen, block: next });
    } else if (chosen.slot >= 0) {
      const x = (chosen.slot % cols) + dx, y = Math.floor(chosen.slot / cols) + dy;
      if (x < 0 || y < 0 || x >= cols || y >= rows || cells[chosen.arena][y * cols + x] === GAP) return;
      choose({ arena: chosen.arena, slot: y * cols + x, block: -1 });
      if (view.scale * cols > Math.max(width, height)) closeUp(left + x, top + y, 1, 1);
    } else {
      const place = placeOf[chosen.arena] + dx + dy * across;
      if (place < 0 || place >= arenaCount()) return;
      choose({ arena: order[place], slot: -1, block: -1 });
      if (view.scale > fitScale * 1.01) closeUp(...originOf(order[place]), cols, rows);
    }
  }

  function enter() {
    if (chosen.arena < 0) return move(0, 0);
    const near = view.scale * cols > Math.min(width, height) * 0.6;
    if (!near) closer(chosen);
    else if (chosen.slot < 0) {
      const slot = hasPools(chosen.arena) ? cells[chosen.arena].findIndex((pool) => pool !== GAP) : -1;
      if (slot >= 0) choose({ arena: chosen.arena, slot, block: -1 });
    } else {
      const pool = cells[chosen.arena][chosen.slot];
      const within = view.scale * 1.3 > Math.min(width, height) * 0.8;
      if (!within) closer(chosen);
      else if (pool >= 0 && !isFree(pool) && firstBlock[chosen.arena] >= 0) choose({ ...chosen, block: 0 });
    }
  }

  function watchKeys() {
    const keys = {
      ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1),
      Enter: enter, Escape: farther, Backspace: farther, "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  function watchTools() {
    page.byId("map-in").addEventListener("click", () => zoom(1.6));
    page.byId("map-out").addEventListener("click", () => zoom(1 / 1.6));
    page.byId("map-fit").addEventListener("click", fit);
    page.byId("map-colour").addEventListener("change", (event) => { mode = event.target.value; hidden.clear(); recolor(); });
    page.byId("map-order").addEventListener("change", () => { arrange(); fit(); });
  }

  // ---- start

  function note() {
    const parts = [];
    if (heap.without_pools) parts.push(`${plural(heap.without_pools, arenaWord)} of ${page.number(arenaCount())}, the fullest, are shown without ${poolWord}s.`);
    if (t.drawn.length && t.drawn.length < arenaCount()) parts.push(`Single blocks are in this page for ${page.number(t.drawn.length)} of ${plural(arenaCount(), arenaWord)}, those before others that fewest live blocks keep.`);
    if (t.told && t.told.length < t.drawn.length) parts.push(`What single blocks hold is told for ${page.number(t.told.length)} of them.`);
    return parts.length ? " " + parts.join(" ") : "";
  }

  async function start() {
    if (!heap || !canvas) return;
    t = await unpack(heap);
    index();
    cells = Array.from({ length: arenaCount() }, (_, arena) => slotsOf(arena));
    interpreters = new Set(t.arena_interpreter).size;
    page.byId("map").hidden = false;
    page.byId("map-note").textContent = note();
    page.byId("map-colour").querySelector("[value=content]").hidden = !t.content;
    measure();
    arrange();
    legend();
    fit();
    page.byId("map-status").textContent = `${plural(arenaCount(), arenaWord)}. Choose one to read its figures.`;
    watchPointer();
    watchKeys();
    watchTools();
    page.redraws.push(recolor);
    new ResizeObserver(() => {
      const before = [width, height];
      measure();
      if (before[0] !== width || before[1] !== height) arrange();
      fit();
    }).observe(canvas);
  }

  return {
    start,
    // for tests: where things lie on the canvas now
    state: () => ({ scale: view.scale, fitScale, chosen, arenas: arenaCount(), mode, pools: t.pool_class.length, drawn: t.drawn.length }),
    drawnArenas: () => Array.from(t.drawn),
    slots: (arena) => cells[arena].length,
    blocks: (arena, slot) => {
      const pool = cells[arena][slot];
      return pool < 0 || isFree(pool) ? 0 : t.pool_used[pool] + t.pool_free[pool];
    },
    contentAt: ({ arena, slot, block }) => (isLive(arena, cells[arena][slot], block) ? contentOf(arena, cells[arena][slot], block) : null),
    show: ({ arena, slot }) => {
      const [left, top] = originOf(arena);
      closeUp(left + (slot % cols), top + Math.floor(slot / cols), 1, 1);
    },
    pointOfBlock: ({ arena, slot, block }) => {
      const [left, top] = originOf(arena);
      const box = blockBox(arena, cells[arena][slot], block);
      return [view.x + (left + (slot % cols)) * view.scale + box.x + box.size / 2,
        view.y + (top + Math.floor(slot / cols)) * view.scale + box.y + box.size / 2];
    },
    pointOf: (arena, slot = -1) => {
      const [left, top] = originOf(arena);
      const x = slot < 0 ? cols / 2 : (slot % cols) + 0.5, y = slot < 0 ? rows / 2 : Math.floor(slot / cols) + 0.5;
      return [view.x + (left + x) * view.scale, view.y + (top + y) * view.scale];
    },
  };
})();
