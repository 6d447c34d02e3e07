import { clearApprovals, showApprovals, showTimeLeft } from "./approvals.ts";
import { byId, show } from "./elements.ts";
import { isForbidden, messageOf, root, Server, type ApprovalPage, type Status } from "./server.ts";
import { showConnection, showStatus } from "./status.ts";
import { addressTokens, cleanAddress, isAny, keepTokens, keptTokens, type Tokens } from "./tokens.ts";

// The script of the built-in page. Everything that comes from outside is put in as text, never as markup.

/** The tokens of this session: those of the address or the form, or those kept from before. */
let tokens: Tokens = keptTokens();

/** Ends what the last sign-in began; one session at a time. */
let session = new AbortController();
function newSession(): AbortSignal {
  session.abort();
  session = new AbortController();
  return session.signal;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function showSignIn(message = ""): void {
  show(false, "approvals", "status");
  show(true, "sign-in");
  show(message !== "", "sign-in-error");
  byId("sign-in-error", HTMLElement).textContent = message;
  showConnection("not signed in");
  byId("host-token", HTMLElement).focus();
}

function signOut(message?: string): void {
  newSession();
  tokens = { client: null, host: null };
  keepTokens(tokens);
  clearApprovals();
  showSignIn(message);
}

const showTrouble = (error: unknown): void => showConnection(`${messageOf(error)}, trying again…`, true);

/** How long a poll may wait for something new, seconds. */
const pollSeconds = 50;

/** Follows the approvals by long poll until the session ends or the token is refused. */
async function follow(server: Server, first: ApprovalPage, signal: AbortSignal): Promise<void> {
  let { cursor } = first;
  let wait = pollSeconds;
  showApprovals(server, first.items);
  while (!signal.aborted) {
    try {
      const page = await server.call("GET /approvals", { search: `?wait=${wait}&since=${cursor}`, signal });
      ({ cursor } = page);
      showApprovals(server, page.items);
      showConnection("connected");
      wait = pollSeconds;
    } catch (error) {
      if (signal.aborted) return;
      if (isForbidden(error)) {
        signOut("This token is not accepted any more.");
        return;
      }
      showTrouble(error);
      // Answered at once: that the server is back must not be told only when something waits.
      wait = 0;
      await pause(2000);
    }
  }
}

/** The contract's page at /ui goes on to the mounted one of the active workspace. */
function goToMount(status: Status | null): void {
  if (location.pathname !== `${root}ui` || !status?.activeWorkspaceId) return;
  // It is fetched again from where the page seems to lie then.
  const icon = byId("icon", HTMLLinkElement);
  icon.setAttribute("href", icon.href);
  history.replaceState(null, "", `${root}w/${encodeURIComponent(status.activeWorkspaceId)}/ui`);
}

/** Tokens that nobody knows: a link with such must not cost those that were kept. */
function refuseTokens(signal: AbortSignal): Promise<void> {
  const isFromAddress = isAny(addressTokens());
  cleanAddress();
  tokens = keptTokens();
  if (isFromAddress && isAny(tokens)) return open(signal);
  signOut("The server knows none of these tokens.");
  return Promise.resolve();
}

/** Shows what the tokens open. */
async function open(signal: AbortSignal): Promise<void> {
  const server = new Server(tokens);
  const [{ approvals, status }, health] = await Promise.all([
    server.rights(signal),
    server.call("GET /health", { signal }),
  ]);
  if (!approvals && !status) return refuseTokens(signal);
  keepTokens(tokens);
  goToMount(status);
  show(false, "sign-in");
  show(true, "approvals");
  show(approvals === null, "not-host");
  show(Boolean(tokens.host), "host-refused");
  show(approvals !== null, "nothing");
  showStatus(status, health.version, Boolean(tokens.client));
  showConnection("connected");
  if (approvals) await follow(server, approvals, signal);
}

async function start(): Promise<void> {
  const signal = newSession();
  if (!isAny(tokens)) {
    showSignIn();
    return;
  }
  while (!signal.aborted) {
    try {
      await open(signal);
      return;
    } catch (error) {
      if (signal.aborted) return;
      showTrouble(error);
      await pause(3000);
    }
  }
}

const typed = (id: string): string => byId(id, HTMLInputElement).value.trim();

function signIn(event: Event): void {
  event.preventDefault();
  const given = { client: typed("client-token"), host: typed("host-token") };
  if (!isAny(given)) {
    showSignIn("Paste at least one token.");
    return;
  }
  tokens = given;
  byId("sign-in-form", HTMLFormElement).reset();
  void start();
}

byId("sign-in-form", HTMLFormElement).addEventListener("submit", signIn);
byId("sign-out", HTMLElement).addEventListener("click", () => signOut());
if (isAny(addressTokens())) tokens = addressTokens();
// A link with tokens that is opened where the page is shown already loads nothing anew.
addEventListener("hashchange", () => {
  if (!isAny(addressTokens())) return;
  tokens = addressTokens();
  void start();
});
setInterval(showTimeLeft, 1000);
void start();
