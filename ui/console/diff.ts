import { visible } from "./text.ts";

type Kind = "added" | "removed" | "";

function kindOf(line: string): Kind {
  if (/^\+(?!\+\+ )/.test(line)) return "added";
  return /^-(?!-- )/.test(line) ? "removed" : "";
}

/** The diff in runs of lines of one kind: many lines are few elements. */
export function diffRuns(text: string): HTMLElement[] {
  const runs: { kind: Kind; lines: string[] }[] = [];
  for (const line of text.replace(/\n$/, "").split("\n")) {
    const last = runs.at(-1);
    if (last?.kind === kindOf(line)) last.lines.push(line);
    else runs.push({ kind: kindOf(line), lines: [line] });
  }
  return runs.map(({ kind, lines }) => {
    const span = document.createElement("span");
    span.textContent = lines.map((line) => visible(line) || " ").join("\n");
    span.className = kind;
    return span;
  });
}
