import { ApiError } from "../lib/errors.ts";
import { route, type Context, type Reply, type Route } from "../lib/route.ts";
import { assets } from "../ui/assets.ts";
import { page } from "../ui/page.ts";

/** Scripts and styles come from this server alone; nothing may frame the page (attack class: UI injection). */
const pageHeaders = {
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

function insistOnUi({ services }: Context<undefined, undefined>): void {
  if (!services.host.config.ui.enabled) {
    throw new ApiError("ui_disabled", "The built-in page is switched off (OPENWORK_TOY_UI).");
  }
}

function servePage(context: Context<undefined, undefined>): Reply {
  insistOnUi(context);
  const headers = { ...pageHeaders, "content-type": "text/html; charset=utf-8" };
  return { text: page(context.mount ? "../../" : ""), headers };
}

function serve(name: keyof typeof assets): (context: Context<undefined, undefined>) => Reply {
  return (context) => {
    insistOnUi(context);
    const { type, text } = assets[name];
    return { text, headers: { ...pageHeaders, "content-type": type } };
  };
}

/** The built-in page and its parts (wire contract, 10.17). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/ui",
    access: "public",
    mounted: true,
    errors: ["ui_disabled"],
    summary: "The built-in page: status and the writes that wait for the host.",
    handle: servePage,
  }),
  route({
    method: "GET",
    path: "/ui/assets/toy.css",
    access: "public",
    errors: ["ui_disabled"],
    summary: "Style of the built-in page.",
    handle: serve("style"),
  }),
  route({
    method: "GET",
    path: "/ui/assets/toy.js",
    access: "public",
    errors: ["ui_disabled"],
    summary: "Script of the built-in page.",
    handle: serve("script"),
  }),
  route({
    method: "GET",
    path: "/ui/assets/openwork-mark.svg",
    access: "public",
    errors: ["ui_disabled"],
    summary: "Mark of the built-in page.",
    handle: serve("mark"),
  }),
];
