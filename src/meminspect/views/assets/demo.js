// Draws the charts and timelines of demos, from the data of page.js.
"use strict";

const demoCharts = (() => {
  const { data, byId, color, number } = page;
  const HUES = ["live", "free", "tree-1", "tree-2", "tree-3", "tree-4", "tree-rest"];
  const axis = (name, log, more = {}) => ({
    type: log ? "log" : "value", name, nameLocation: "middle", nameGap: 28, nameTextStyle: { color: color("soft") },
    axisLabel: { color: color("soft"), hideOverlap: true }, splitLine: { lineStyle: { color: color("line") } }, ...more,
  });

  function lines(chart) {
    return () => ({
      animation: false, textStyle: { fontFamily: "inherit" },
      grid: { left: 24, right: 24, top: 36, bottom: 36, containLabel: true },
      legend: { top: 0, textStyle: { color: color("text") }, data: chart.series.map((one) => one.name) },
      xAxis: axis(chart.x_label, chart.log_x),
      yAxis: axis(chart.y_label, chart.log_y, { nameGap: 52 }),
      series: chart.series.flatMap((one, at) => [
        {
          name: one.name, type: "line", symbolSize: 8, itemStyle: { color: color(HUES[at % HUES.length]) },
          data: one.points.map((point) => ({
            value: [point.x, point.y],
            tip: `${one.name}\n${point.x}: ${number(point.y, 1)}\nfrom ${number(point.low, 1)} to ${number(point.high, 1)}`,
          })),
        },
        {
          name: one.name, type: "custom", silent: true, itemStyle: { color: color(HUES[at % HUES.length]) },
          data: one.points.map((point) => [point.x, point.low, point.high]),
          renderItem: (_, api) => {
            const low = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(2)]);
            const style = { stroke: api.visual("color"), lineWidth: 1.5 };
            const bar = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
            return { type: "group", children: [
              bar(low[0], low[1], high[0], high[1]),
              bar(low[0] - 4, low[1], low[0] + 4, low[1]),
              bar(high[0] - 4, high[1], high[0] + 4, high[1]),
            ] };
          },
          encode: { x: 0, y: [1, 2] },
        },
      ]),
    });
  }

  function lanes(timeline) {
    const labels = [...new Set(timeline.spans.map((span) => span.label))];
    return () => ({
      animation: false, textStyle: { fontFamily: "inherit" },
      grid: { left: 16, right: 24, top: 8, bottom: 40, containLabel: true },
      xAxis: axis("ms", false),
      yAxis: {
        type: "category", inverse: true, data: timeline.lanes, axisTick: { show: false },
        axisLabel: { color: color("text") }, axisLine: { lineStyle: { color: color("line") } },
      },
      dataZoom: [{ type: "inside", filterMode: "weakFilter" }],
      series: [{
        type: "custom", encode: { x: [1, 2], y: 0 },
        data: timeline.spans.map((span) => ({
          value: [timeline.lanes.indexOf(span.lane), span.begin_s * 1e3, span.end_s * 1e3, labels.indexOf(span.label)],
          tip: `${span.lane}: ${span.label}\n${number(span.begin_s * 1e3, 3)} to ${number(span.end_s * 1e3, 3)} ms`,
        })),
        renderItem: (_, api) => {
          const begin = api.coord([api.value(1), api.value(0)]), end = api.coord([api.value(2), api.value(0)]);
          const height = api.size([0, 1])[1] * 0.6;
          return {
            type: "rect",
            shape: { x: begin[0], y: begin[1] - height / 2, width: Math.max(1.5, end[0] - begin[0]), height },
            style: { fill: color(HUES[api.value(3) % HUES.length]) },
          };
        },
      }],
    });
  }

  function start() {
    for (const { id, chart, timeline } of data.pictures) {
      byId(id).style.height = chart ? "22rem" : `${timeline.lanes.length * 2.4 + 4}rem`;
      page.chartIn(id, chart ? lines(chart) : lanes(timeline));
    }
  }

  return { start };
})();

page.startTheme();
demoCharts.start();
document.documentElement.dataset.ready = "yes";
