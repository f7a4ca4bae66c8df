"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const template = () => {
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--rule"), automargin: true,
      title: { standoff: 6, font: { size: 12 } }, tickfont: { size: 11 } };
    return { layout: {
      paper_bgcolor: colour("--card"), plot_bgcolor: "rgba(0,0,0,0)", font: { family: colour("--sans"), size: 12, color: colour("--ink") },
      xaxis: axis, yaxis: axis, margin: { l: 52, r: 14, t: 14, b: 40 },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)", font: { size: 11 } },
      hoverlabel: { font: { family: colour("--sans"), size: 12 } }, annotationdefaults: { font: { size: 11 } },
    } };
  };
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover" };
  const draw = (box) => {
    const figure = JSON.parse(box.querySelector("script").textContent);
    const layout = { ...figure.layout, template: template(), height: Number(box.dataset.height), autosize: true };
    if (box.clientWidth < 500) layout.legend = { ...layout.legend, entrywidthmode: "fraction", entrywidth: 0.48 };
    if (touch) layout.dragmode = false; // else a finger on a plot cannot scroll the page
    return Plotly.react(box.querySelector(".plot"), figure.data, layout, options);
  };
  const boxes = [...document.querySelectorAll(".panel[data-height]")];
  const drawn = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting || drawn.has(entry.target)) continue;
      drawn.add(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "800px" });
  boxes.forEach((box) => seen.observe(box));
  dark.addEventListener("change", () => drawn.forEach(draw));
  addEventListener("beforeprint", () => boxes.filter((box) => !drawn.has(box)).forEach((box) => { drawn.add(box); draw(box); }));
})();
