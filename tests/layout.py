# ruff: noqa: E501
"""JavaScript that finds content of a page that is cut off, off screen or overlapping."""

LAYOUT = """() => {
  const found = [], width = document.documentElement.clientWidth;
  const shown = (one) => { const box = one.getBoundingClientRect(); return box.width > 1 && box.height > 1; };
  const inside = (one, styles) => {
    for (let up = one.parentElement; up && up !== document.body; up = up.parentElement)
      if (styles.test(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const name = (one) => `${one.tagName} ${one.id || one.className} "${one.textContent.trim().slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > width) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const content = [...document.querySelectorAll("main *, article *")].filter(shown)
    .filter((one) => !one.closest("svg, nav, .md-sidebar, .unseen, details:not([open]) > :not(summary), .flip, label, input"));
  for (const one of content) {
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    if ((box.right > width + 1 || box.left < -1) && !inside(one, /auto|scroll|hidden/)) found.push(`out of the screen: ${name(one)}`);
    if (/hidden|clip/.test(style.overflowX) && style.display !== "inline" && one.scrollWidth > one.clientWidth + 1)
      found.push(`cut: ${name(one)}`);
  }
  const blocks = content.filter((one) => /^(P|PRE|TABLE|FIGURE|H1|H2|H3|UL|OL|DL)$/.test(one.tagName) && !inside(one, /auto|scroll/));
  for (const one of blocks) {
    let next = one.nextElementSibling;
    while (next && !blocks.includes(next)) next = next.nextElementSibling;
    if (!next) continue;
    const a = one.getBoundingClientRect(), b = next.getBoundingClientRect();
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
      found.push(`over each other: ${name(one)} and ${name(next)}`);
  }
  for (const place of document.querySelectorAll(".vega")) {
    const drawn = place.querySelector("svg").getBoundingClientRect(), box = place.getBoundingClientRect();
    if (box.bottom - drawn.bottom > 8) found.push(`blank under ${place.id}: ${Math.round(box.bottom - drawn.bottom)}`);
    for (const text of place.querySelectorAll("svg text")) {
      const one = text.getBoundingClientRect();
      if (one.width && (one.left < box.left - 1 || one.right > box.right + 1 || one.bottom > box.bottom + 1))
        found.push(`cut in ${place.id}: ${text.textContent}`);
    }
  }
  return found;
}"""
