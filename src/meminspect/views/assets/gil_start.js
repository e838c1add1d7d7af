// Draws the pictures of a GIL trace, each on its own: the timeline, the matrix, the lengths.
"use strict";

const gilCharts = (() => {
  const { data, byId, number, color, chartIn } = page;

  function matrix() {
    if (!byId("matrix") || !data.matrix.length) return;
    const names = data.matrix_names;
    const short = (name) => (name.length > 18 ? name.slice(0, 17) + "…" : name);
    const most = Math.max(...data.matrix.map((cell) => cell[2] + cell[3]));
    chartIn("matrix", () => ({
      animation: false,
      grid: { left: 8, right: 8, top: 26, bottom: 44, containLabel: true },
      textStyle: { fontFamily: "inherit" },
      xAxis: { type: "category", data: names.map(short), name: "to", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: color("soft") }, axisLabel: { color: color("soft"), hideOverlap: true }, axisLine: { lineStyle: { color: color("line") } } },
      yAxis: { type: "category", inverse: true, data: names.map(short), name: "from", nameLocation: "start", nameTextStyle: { color: color("soft") }, axisLabel: { color: color("soft") }, axisLine: { lineStyle: { color: color("line") } } },
      visualMap: { show: false, min: 0, max: most, dimension: 2, inRange: { color: [color("raised"), color("live")] } },
      series: [{
        type: "heatmap", label: { show: names.length <= 8, formatter: (at) => number(at.value[2]), fontSize: 13 },
        data: data.matrix.map(([from, to, forced, voluntary]) => ({
          value: [to, from, forced + voluntary],
          label: { color: color(forced + voluntary > most / 2 ? "ground" : "text") },
          tip: `${names[from]} → ${names[to]}\n${number(forced)} forced, ${number(voluntary)} given away`,
        })),
      }],
    }));
  }

  function lengths() {
    if (!byId("lengths")) return;
    const one = (title, values, shade) => ({
      name: title, type: "bar", itemStyle: { color: color(shade) }, barGap: "5%",
      data: values.map((count, at) => ({ value: count || "-", tip: `${data.bins[at]}\n${number(count)} ${title}` })),
    });
    chartIn("lengths", () => ({
      animation: false,
      grid: { left: 8, right: 8, top: 12, bottom: 8, containLabel: true },
      textStyle: { fontFamily: "inherit" },
      xAxis: { type: "category", data: data.bins, axisLabel: { color: color("soft"), hideOverlap: true }, axisLine: { lineStyle: { color: color("line") } } },
      yAxis: { type: "log", min: 0.8, axisLabel: { color: color("soft"), formatter: (value) => (value < 1 ? "" : number(value)) }, splitLine: { lineStyle: { color: color("line") } } },
      series: [one("holds", data.holds, "live"), one("waits", data.waits, "free")],
    }));
  }

  return { matrix, lengths };
})();

page.startTheme();
for (const draw of [gilTimeline.start, gilCharts.matrix, gilCharts.lengths]) {
  try { draw(); } catch (error) {
    page.byId("gil-missing").textContent = `A picture cannot be drawn here: ${error.message}`;
    page.byId("gil-missing").hidden = false;
  }
}
document.documentElement.dataset.ready = "yes";
