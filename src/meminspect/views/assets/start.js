// Draws the page's pictures, each on its own: one that fails leaves the others, and says so.
"use strict";

page.startTheme();
page.startTree();
page.startClasses();
heapMap.start().catch((error) => {
  const missing = page.byId("map-missing");
  missing.textContent = `The map cannot be drawn here: ${error.message}`;
  missing.hidden = false;
}).finally(() => { document.documentElement.dataset.ready = "yes"; });
