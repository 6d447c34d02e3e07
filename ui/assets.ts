import { mark } from "./mark.ts";
import { script } from "./script.ts";
import { style } from "./style.ts";

/** The files that the built-in page loads: media type and text. */
export const assets: Readonly<Record<"style" | "script" | "mark", { type: string; text: string }>> = {
  style: { type: "text/css; charset=utf-8", text: style },
  script: { type: "text/javascript; charset=utf-8", text: script },
  mark: { type: "image/svg+xml; charset=utf-8", text: mark },
};
