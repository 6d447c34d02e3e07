/** Longer patterns and texts match only what is equal to them: matching stays quick whatever is sent. */
const longest = 1000;

/** Whether a pattern with `*` (any characters) and `?` (one character) matches the whole text. */
export function matchesGlob(pattern: string, text: string): boolean {
  if (pattern === text) return true;
  if (pattern.length > longest || text.length > longest) return false;
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === "*") {
      star = p;
      resume = t;
      p += 1;
    } else if (pattern[p] === "?" || pattern[p] === text[t]) {
      p += 1;
      t += 1;
    } else if (star >= 0) {
      // Only the last star can take more: that is never worse than trying all of them.
      p = star + 1;
      resume += 1;
      t = resume;
    } else return false;
  }
  while (pattern[p] === "*") p += 1;
  return p === pattern.length;
}
