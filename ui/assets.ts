import { mark } from "./mark.ts";
import { page } from "./page.ts";
import { script } from "./script.ts";
import { style } from "./style.ts";

/** The files of the built-in page: media type and text. */
export const assets: Readonly<Record<"page" | "style" | "script" | "mark", { type: string; text: string }>> =
  {
    page: { type: "text/html; charset=utf-8", text: page },
    style: { type: "text/css; charset=utf-8", text: style },
    script: { type: "text/javascript; charset=utf-8", text: script },
    mark: { type: "image/svg+xml; charset=utf-8", text: mark },
  };
