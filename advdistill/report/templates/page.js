"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const KEY = "advdistill-theme";
  let views = [];
  let drawing = Promise.resolve();

  const remembered = () => { try { return sessionStorage.getItem(KEY); } catch { return null; } };
  const remember = (theme) => { try { sessionStorage.setItem(KEY, theme); } catch { /* the browser keeps nothing here */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

  const config = (width) => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const [ink, quiet, line, font] = [of("--ink"), of("--quiet"), of("--line"), of("--sans")];
    const columns = Math.max(1, Math.floor(width / 200));  // of a legend; another one may be beside it
    return {
      font,
      background: "transparent",
      view: { stroke: null },
      range: { category: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => of(`--series-${i}`)) },
      axis: { labelColor: quiet, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line,
              labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8, labelPadding: 5 },
      legend: { orient: "top", direction: "horizontal", columns, labelColor: ink, labelFontSize: 12.5, labelLimit: Math.max(90, Math.min(170, (width - 190) / columns - 40)),
                symbolStrokeColor: ink, symbolStrokeWidth: 2, symbolSize: 110, offset: 10, columnPadding: 18 },
      line: { strokeWidth: 2 },
      rule: { color: ink },
    };
  };

  const draw = async () => {
    for (const view of views.splice(0)) view.finalize();
    const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
                      tooltip: { theme: isDark() ? "dark" : "light" } };
    for (const place of document.querySelectorAll(".vega")) {
      const spec = JSON.parse(document.querySelector(`script[data-for="${place.id}"]`).textContent);
      views.push(await vegaEmbed(place, spec, { ...options, config: config(place.clientWidth) }));
    }
    root.dataset.drawn = isDark() ? "dark" : "light";
  };
  const redraw = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
    delete root.dataset.drawn;
    drawing = drawing.then(draw);
  };

  if (remembered()) root.dataset.theme = remembered();
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    redraw();
  });
  systemDark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  redraw();
})();
