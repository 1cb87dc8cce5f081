// What a reader with a narrow window and a keyboard meets; told to the page around this one.
addEventListener("load", () => {
  const visible = selector => [...document.querySelectorAll(selector)].filter(element => element.checkVisibility());
  const beyond = visible("body *").filter(element =>
    !element.closest(".scroll") && !element.closest("svg") && !element.matches(".skip")
    && element.getBoundingClientRect().right > innerWidth + 1);
  const reached = visible("a[href], summary, [tabindex='0']").filter(element => {
    element.focus();
    return document.activeElement === element;
  });
  document.activeElement.blur();
  scrollTo(0, 0);
  parent.postMessage({
    windowWidth: innerWidth,
    pageWidth: document.documentElement.scrollWidth,
    beyond: beyond.map(element => element.tagName + "." + element.className),
    headingTop: document.querySelector("h1").getBoundingClientRect().top,
    wide: visible(".wide").length,
    narrow: visible(".narrow").length,
    plots: document.querySelectorAll("figure").length,
    plotsReached: visible("figure").filter(figure => reached.some(element => element.matches("summary") && figure.contains(element))).length,
    runsReached: reached.filter(element => element.matches(".run > summary")).length,
    first: reached[0].className,
    leapfrogging: document.querySelectorAll("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").length,
    smallestLetters: Math.min(...visible(".chart text").map(word => {
      const box = word.ownerSVGElement;
      return parseFloat(getComputedStyle(word).fontSize) * box.getBoundingClientRect().width / box.viewBox.baseVal.width;
    })),
  }, "*");
});
