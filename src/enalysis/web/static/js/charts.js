// The day chart that answers the pointer. It reads the table on the page, so that both always tell the same.
(() => {
  "use strict";

  const root = document.querySelector('[data-chart="day"]');
  if (!root || !window.echarts) return;
  const table = document.getElementById(root.dataset.table);
  const host = root.querySelector(".live-chart");
  const drawn = root.querySelector(".drawn");
  const unit = root.dataset.unit;
  const factor = { kW: 1e3, MW: 1e6, GW: 1e9, W: 1 }[unit] || 1e3;
  const below = new Set(["battery_charge_wh", "grid_export_wh"]);

  const columns = [...table.tHead.querySelectorAll("th[data-metric]")].map((head) => ({
    name: head.dataset.metric,
    label: head.textContent.replace(/, Wh$/, ""),
    colour: head.dataset.colour,
  }));
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cell = (name) => row.querySelector(`[data-metric="${name}"]`);
    const number = (name) => (cell(name).dataset.value === "" ? null : Number(cell(name).dataset.value));
    return {
      clock: row.querySelector("th").textContent.trim(),
      hours: Number(row.dataset.seconds) / 3600,
      shaded: row.dataset.shaded !== undefined,
      quality: cell("quality").textContent.trim(),
      gap: cell("gap").textContent.trim(),
      number,
    };
  });
  const known = columns.filter((column) => rows.some((row) => row.number(column.name) !== null));

  function token(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function digits(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 0.005) return "<0.01";
    const rounded = Number(size.toPrecision(3));
    const decimals = Math.max(0, Math.min(2, 2 - Math.floor(Math.log10(rounded))));
    return (value < 0 ? "−" : "") + rounded.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  }

  function meanPower(row, name) {
    const energy = row.number(name);
    return energy === null ? null : energy / row.hours / factor;
  }

  function gaps() {
    const areas = [];
    rows.forEach((row, n) => {
      if (!row.shaded) return;
      const before = areas[areas.length - 1];
      if (before && before.end === n - 1 && before.reason === row.gap) before.end = n;
      else areas.push({ start: n, end: n, reason: row.gap });
    });
    return areas.map((area) => [{ xAxis: area.start - 0.5 }, { xAxis: area.end + 0.5 }]);
  }

  function line(label, value, strong) {
    const p = document.createElement("p");
    const name = document.createElement(strong ? "strong" : "span");
    name.textContent = label;
    const number = document.createElement("span");
    number.textContent = value;
    p.append(name, number);
    return p;
  }

  function tip(points) {
    const point = Array.isArray(points) ? points[0] : points;
    const row = rows[point.dataIndex];
    const box = document.createElement("div");
    box.className = "tip";
    if (!row) return box;
    box.append(line(row.clock, "", true));
    for (const column of known) {
      const energy = row.number(column.name);
      const power = meanPower(row, column.name);
      box.append(line(column.label, energy === null ? "–" : `${digits(power)} ${unit}, ${digits(energy)} Wh`));
    }
    if (row.quality) box.append(line("Quality", row.quality));
    if (row.gap) box.append(line("PV missing", row.gap));
    return box;
  }

  function marks() {
    const mark = { symbol: "none", silent: true, label: { show: false } };
    const lines = [{ yAxis: 0, lineStyle: { color: token("edge"), width: 1.5, type: "solid" } }];
    if (root.dataset.now) {
      const now = (Number(root.dataset.now) / 100) * rows.length - 0.5;
      lines.push({ xAxis: now, lineStyle: { color: token("quiet"), width: 1, type: [3, 3] } });
    }
    return {
      markArea: { silent: true, itemStyle: { color: token("gap"), opacity: 0.55 }, data: gaps() },
      markLine: { ...mark, data: lines },
    };
  }

  function series() {
    return known.map((column, n) => {
      const sign = below.has(column.name) ? -1 : 1;
      const colour = token(column.colour);
      const data = rows.map((row, at) => {
        const power = meanPower(row, column.name);
        return [at, power === null ? null : power * sign];
      });
      const shared = { name: column.label, data, color: colour, ...(n === 0 ? marks() : {}) };
      if (column.name === "load_wh") {
        return { ...shared, type: "line", step: "middle", symbol: "none", connectNulls: false, lineStyle: { width: 2, color: colour }, z: 5 };
      }
      return { ...shared, type: "bar", stack: "flow", stackStrategy: "samesign", barCategoryGap: "14%" };
    });
  }

  // Every third full hour of the site's clock, as the server draws them; half as many where there is no room.
  // A label stands at the left edge of its quarter.
  function labels(width) {
    const step = width < 480 ? 6 : 3;
    const at = new Map();
    rows.forEach((row, n) => {
      const [hours, minutes] = row.clock.split(":").map(Number);
      if (minutes === 0 && hours % step === 0) at.set(n - 0.5, row.clock);
    });
    return at.set(rows.length - 0.5, "24:00");
  }

  const chart = window.echarts.init(host, null, { renderer: "canvas" });

  function draw() {
    const times = labels(root.clientWidth);
    const quiet = token("quiet");
    const ink = token("ink");
    const edge = token("edge");
    chart.setOption(
      {
        animation: false,
        textStyle: { fontFamily: token("font") },
        grid: { left: 52, right: 16, top: 56, bottom: 26 },
        legend: {
          top: 0, left: 0, type: "scroll", icon: "roundRect", itemWidth: 12, itemHeight: 10, itemGap: 14,
          textStyle: { color: ink }, pageTextStyle: { color: quiet }, pageIconColor: quiet, inactiveColor: edge,
        },
        tooltip: {
          trigger: "axis", confine: true, formatter: tip, backgroundColor: token("surface"), borderColor: token("rule"),
          textStyle: { color: ink }, axisPointer: { type: "line", snap: true, lineStyle: { color: edge } },
        },
        xAxis: {
          type: "value", min: -0.5, max: rows.length - 0.5,
          axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false },
          axisLabel: { customValues: [...times.keys()], formatter: (n) => times.get(n) || "", color: quiet, hideOverlap: true },
        },
        yAxis: {
          type: "value", name: unit, nameTextStyle: { color: quiet, align: "right", padding: [0, 6, 0, 0] },
          axisLine: { show: false }, axisTick: { show: false },
          axisLabel: { color: quiet, formatter: (n) => String(n).replace("-", "−") },
          splitLine: { lineStyle: { color: token("rule") } },
        },
        series: series(),
      },
      true,
    );
  }

  drawn.hidden = true;
  host.hidden = false;
  chart.resize();
  draw();
  new ResizeObserver(() => { chart.resize(); draw(); }).observe(root);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
