// What both pages make of elements.

/** @param {string} name @param {...(string|Node)} content @returns {HTMLElement} a new element with that in it */
export function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

/** Let the links of a page carry the token, which is behind the `#` of its address. */
export function carryToken() {
  for (const link of document.links) link.hash = location.hash;
}
