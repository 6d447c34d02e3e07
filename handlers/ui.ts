import { ApiError } from "../lib/errors.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
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

/**
 * A person who opens the address of the server is led to the page. Programs find nothing there, as they always did
 * (wire contract, section 4): browsers alone ask for text/html first.
 */
function leadToPage({ services, request, publicAddress }: Context<undefined, undefined>): Reply {
  const isBrowser = /^\s*text\/html\b/i.test(request.headers.get("accept") ?? "");
  if (isBrowser && services.host.config.ui.enabled) {
    const headers = { location: `${publicAddress.base}/ui`, "cache-control": "no-store" };
    return { status: 302, headers, text: "" };
  }
  throw new ApiError(
    "not_found",
    "There is nothing here: the page for people is at /ui, GET /openapi.json describes the endpoints.",
  );
}

/** The built-in page and its parts (wire contract, 10.17). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/",
    access: "public",
    // It shows nothing; the page itself says what to do about a name that is not allowed.
    anyHost: true,
    success: [302],
    answerHeaders: ["Location"],
    errors: ["not_found"],
    summary: "Leads a browser to the built-in page.",
    handle: leadToPage,
  }),
  route({
    method: "GET",
    path: "/ui",
    access: "public",
    produces: ["text/html"],
    mounted: true,
    errors: ["ui_disabled"],
    summary: "The built-in page: status and the writes that wait for the host.",
    handle: servePage,
  }),
  route({
    method: "GET",
    path: "/ui/assets/toy.css",
    access: "public",
    produces: ["text/css"],
    errors: ["ui_disabled"],
    summary: "Style of the built-in page.",
    handle: serve("style"),
  }),
  route({
    method: "GET",
    path: "/ui/assets/toy.js",
    access: "public",
    produces: ["text/javascript"],
    errors: ["ui_disabled"],
    summary: "Script of the built-in page.",
    handle: serve("script"),
  }),
  route({
    method: "GET",
    path: "/ui/assets/openwork-mark.svg",
    access: "public",
    produces: ["image/svg+xml"],
    errors: ["ui_disabled"],
    summary: "Mark of the built-in page.",
    handle: serve("mark"),
  }),
];
