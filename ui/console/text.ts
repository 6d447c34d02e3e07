/** Characters that show nothing, or make others show elsewhere (CVE-2021-42574). */
const unseen =
  // oxlint-disable-next-line no-control-regex, no-misleading-character-class -- each is meant as it stands
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

function pictureOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `\\u{${code.toString(16)}}`;
}

/** A text in which nothing hides: what has no picture is named by its code point. */
export function visible(text: string): string {
  return text.replace(unseen, pictureOf);
}

/** The same for a text of one line. */
export function visibleLine(text: string): string {
  return visible(text).replace(/[\t\n]/g, (character) => (character === "\t" ? "␉" : "␊"));
}
