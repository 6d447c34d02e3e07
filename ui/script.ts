// Made by `npm run ui:script` from the modules in ui/console.

/** Script of the built-in page. */
export const script: string = `/** Characters that show nothing, or make others show elsewhere (CVE-2021-42574). */
const unseen = /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}]/gu;
function pictureOf(character) {
	const code = character.codePointAt(0) ?? 0;
	return code < 32 ? String.fromCodePoint(9216 + code) : \`\\\\u{\${code.toString(16)}}\`;
}
/** A text in which nothing hides: what has no picture is named by its code point. */
function visible(text) {
	return text.replace(unseen, pictureOf);
}
/** The same for a text of one line. */
function visibleLine(text) {
	return visible(text).replace(/[\\t\\n]/g, (character) => character === "	" ? "␉" : "␊");
}
function kindOf(line) {
	if (/^\\+(?!\\+\\+ )/.test(line)) return "added";
	return /^-(?!-- )/.test(line) ? "removed" : "";
}
/** The diff in runs of lines of one kind: many lines are few elements. */
function diffRuns(text) {
	const runs = [];
	for (const line of text.replace(/\\n$/, "").split("\\n")) {
		const last = runs.at(-1);
		if (last?.kind === kindOf(line)) last.lines.push(line);
		else runs.push({
			kind: kindOf(line),
			lines: [line]
		});
	}
	return runs.map(({ kind, lines }) => {
		const span = document.createElement("span");
		span.textContent = lines.map((line) => visible(line) || " ").join("\\n");
		span.className = kind;
		return span;
	});
}
/** The element of the page with this id, which is of this kind; the page and this script come from one server. */
function byId(id, kind) {
	return insistOn(document.getElementById(id), kind, \`#\${id}\`);
}
/** The first element below \`parent\` that fits, which is of this kind. */
function within(parent, selector, kind) {
	return insistOn(parent.querySelector(selector), kind, selector);
}
function insistOn(found, kind, name) {
	if (found instanceof kind) return found;
	throw new Error(\`the page has no \${kind.name} \${name}\`);
}
/** Shows the elements with these ids, or hides them. */
function show(isShown, ...ids) {
	for (const id of ids) byId(id, HTMLElement).hidden = !isShown;
}
const storedAs = {
	client: "openwork.token",
	host: "openwork.hostToken"
};
const names = ["client", "host"];
/** The tokens kept from before. */
function keptTokens() {
	return {
		client: localStorage.getItem(storedAs.client),
		host: localStorage.getItem(storedAs.host)
	};
}
/** Tokens in the address: #token=…&hostToken=… */
function addressTokens() {
	const given = new URLSearchParams(location.hash.slice(1));
	return {
		client: given.get("token"),
		host: given.get("hostToken")
	};
}
/** Whether there is at least one. */
function isAny({ client, host }) {
	return Boolean(client || host);
}
/** Keeps the tokens, and them alone, and takes them out of the address. */
function keepTokens(tokens) {
	for (const name of names) {
		const token = tokens[name];
		if (token) localStorage.setItem(storedAs[name], token);
		else localStorage.removeItem(storedAs[name]);
	}
	cleanAddress();
}
/** Takes tokens out of the address. */
function cleanAddress() {
	if (isAny(addressTokens())) history.replaceState(null, "", location.pathname + location.search);
}
/** One token alone is tried as both: an owner token is a client's and a host's. */
function tokenHeaders({ client, host }) {
	return {
		authorization: \`Bearer \${client || host || ""}\`,
		"x-openwork-host-token": host || client || ""
	};
}
/** An answer that is no success. */
var Refusal = class extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
};
/** Whether a call failed because the server does not know the token, or not for this. */
function isForbidden(error) {
	return error instanceof Refusal && (error.status === 401 || error.status === 403);
}
/** What a caught error says. */
function messageOf(error) {
	return error instanceof Error ? error.message : String(error);
}
/** The root of the server, wherever it is mounted: this script lies two below it. */
const root = new URL("../../", import.meta.url).pathname;
/** One request; what the browser says when it fails differs from one to the next, and helps nobody. */
function reach(url, init) {
	return fetch(url, init).catch((error) => {
		throw new Error("not reachable", { cause: error });
	});
}
/** The server as these tokens open it. */
var Server = class {
	#headers;
	/** By how much the clock of this device is ahead of the server's, milliseconds. */
	#aheadMs = 0;
	constructor(tokens) {
		this.#headers = tokenHeaders(tokens);
	}
	/** The parsed answer of an endpoint; throws a Refusal when it is none of success. */
	async call(endpoint, sending = {}) {
		const { id = "", search = "", body, signal } = sending;
		const [method = "", path = ""] = endpoint.split(" /");
		const hasBody = body !== void 0;
		const response = await reach(root + path.replace(/:\\w+/, encodeURIComponent(id)) + search, {
			method,
			headers: {
				...this.#headers,
				...hasBody ? { "content-type": "application/json" } : {}
			},
			...hasBody ? { body: JSON.stringify(body) } : {},
			...signal ? { signal } : {}
		});
		this.#compareClocks(response.headers.get("date") ?? "");
		const answer = await response.json().catch(() => ({}));
		if (response.ok) return answer;
		const message = typeof answer === "object" && answer && "message" in answer ? answer.message : void 0;
		throw new Refusal(response.status, typeof message === "string" ? message : \`the server answered \${response.status}\`);
	}
	/** A time that the server told, by the clock of this device, which may be set to anything. */
	localTime(time) {
		return time + this.#aheadMs;
	}
	#compareClocks(date) {
		const told = Date.parse(date);
		if (!Number.isNaN(told)) this.#aheadMs = Date.now() - (told + 500);
	}
	/** What the tokens may do: answer approvals (host), look (client), both or nothing. */
	async rights(signal) {
		const [approvals, status] = await Promise.all([orNull(this.call("GET /approvals", {
			search: "?wait=0",
			signal
		})), orNull(this.call("GET /status", { signal }))]);
		return {
			approvals,
			status
		};
	}
};
function orNull(answer) {
	return answer.catch((error) => {
		if (isForbidden(error)) return null;
		throw error;
	});
}
const list = () => byId("list", HTMLElement);
const shownItems = () => [...list().children].filter((item) => item instanceof HTMLElement);
/** Adds what is new and drops what is gone; what stays keeps its place, its focus and its scroll. */
function showApprovals(server, items) {
	const ids = new Set(items.map((request) => request.id));
	for (const item of shownItems()) if (!ids.has(item.dataset["id"] ?? "")) drop(item);
	const shown = new Set(shownItems().map((item) => item.dataset["id"]));
	const arrived = items.filter((request) => !shown.has(request.id));
	list().append(...arrived.map((request) => itemOf(server, request)));
	const ends = new Map(items.map(({ id, expiresAt }) => [id, String(server.localTime(expiresAt))]));
	for (const item of shownItems()) item.dataset["expires"] = ends.get(item.dataset["id"] ?? "") ?? "";
	showCount();
	showTimeLeft();
}
/** Shows none. */
function clearApprovals() {
	list().replaceChildren();
	showCount();
}
/** Says of each how long it still waits. */
function showTimeLeft() {
	for (const item of shownItems()) {
		const left = Number(item.dataset["expires"]) - Date.now();
		within(item, ".left", HTMLElement).textContent = \`\${Math.max(0, Math.round(left / 1e3))} s left\`;
	}
}
function itemOf(server, request) {
	const template = byId("approval", HTMLTemplateElement).content.cloneNode(true);
	if (!(template instanceof DocumentFragment)) throw new Error("the page has no template");
	const item = within(template, ".approval", HTMLElement);
	item.dataset["id"] = request.id;
	const heading = within(item, "h3", HTMLElement);
	heading.textContent = visibleLine(request.summary);
	heading.id = \`what-\${request.id}\`;
	const who = request.tokenLabel ?? request.actor.clientId ?? request.actor.tokenHash.slice(0, 8);
	const by = \`\${request.action} · asked by \${who} (\${request.actor.scope})\`;
	within(item, ".by", HTMLElement).textContent = visibleLine(by);
	within(item, ".paths", HTMLElement).append(...request.paths.map(pathLine));
	within(item, ".diff", HTMLElement).append(...diffRuns(request.diff || "No line of a file changes."));
	for (const reply of ["allow", "deny"]) {
		const button = within(item, \`.\${reply}\`, HTMLButtonElement);
		button.setAttribute("aria-describedby", heading.id);
		button.addEventListener("click", () => void answer(server, item, reply));
	}
	return item;
}
function pathLine(path) {
	const line = document.createElement("li");
	line.textContent = visibleLine(path);
	return line;
}
async function answer(server, item, reply) {
	const buttons = item.querySelectorAll("button");
	for (const button of buttons) button.disabled = true;
	try {
		await server.call("POST /approvals/:approvalId", {
			id: item.dataset["id"] ?? "",
			body: { reply }
		});
		drop(item);
		showCount();
	} catch (error) {
		within(item, ".error", HTMLElement).textContent = visibleLine(messageOf(error));
		for (const button of buttons) button.disabled = false;
	}
}
/** Takes a request away; a keyboard that was on it goes on at the heading, never at the buttons of another one. */
function drop(item) {
	const active = document.activeElement;
	if (active === document.body || item.contains(active)) byId("waiting", HTMLElement).focus();
	item.remove();
}
function showCount() {
	const waiting = shownItems().length;
	const counter = byId("count", HTMLElement);
	counter.textContent = String(waiting);
	counter.classList.toggle("some", waiting > 0);
	show(waiting === 0, "nothing");
	const writes = waiting === 1 ? "write waits" : "writes wait";
	byId("news", HTMLElement).textContent = waiting > 0 ? \`\${waiting} \${writes} for you\` : "";
	document.title = \`\${waiting > 0 ? \`(\${waiting}) \` : ""}OpenWork Server\`;
}
/** Says how the server is reached. */
function showConnection(text, isDown = false) {
	const connection = byId("connection", HTMLElement);
	connection.textContent = text;
	connection.classList.toggle("down", isDown);
}
/**
* Shows what a client may know of the server; without a client's token the version alone. \`isRefused\`: a client token
* was given, and the server does not accept it.
*/
function showStatus(status, version, isRefused) {
	byId("facts", HTMLElement).replaceChildren();
	fact("Version", version);
	if (status) {
		const { server, workspace, approval } = status;
		fact("Listening on", \`\${server.host}:\${server.port}\`);
		fact("Workspace", workspace ? \`\${workspace.name} — \${workspace.path}\` : "none");
		fact("Workspaces", String(status.workspaceCount));
		fact("Approval", \`\${approval.mode}, \${approval.timeoutMs / 1e3} s to answer\`);
		fact("Read-only", status.readOnly ? "yes" : "no");
		const isAuto = approval.mode === "auto";
		show(status.readOnly, "read-only");
		show(isAuto && !status.readOnly, "auto");
		show(!isAuto && !status.readOnly, "outlook");
	} else fact("Details", isRefused ? "the client token is not accepted" : "need the client token too, or an owner token");
	show(true, "status");
}
function fact(name, value) {
	const term = document.createElement("dt");
	const detail = document.createElement("dd");
	term.textContent = name;
	detail.textContent = visibleLine(value);
	byId("facts", HTMLElement).append(term, detail);
}
/** The tokens of this session: those of the address or the form, or those kept from before. */
let tokens = keptTokens();
/** Ends what the last sign-in began; one session at a time. */
let session = new AbortController();
function newSession() {
	session.abort();
	session = new AbortController();
	return session.signal;
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
function showSignIn(message = "") {
	show(false, "approvals", "status");
	show(true, "sign-in");
	show(message !== "", "sign-in-error");
	byId("sign-in-error", HTMLElement).textContent = message;
	showConnection("not signed in");
	byId("host-token", HTMLElement).focus();
}
function signOut(message) {
	newSession();
	tokens = {
		client: null,
		host: null
	};
	keepTokens(tokens);
	clearApprovals();
	showSignIn(message);
}
const showTrouble = (error) => showConnection(\`\${messageOf(error)}, trying again…\`, true);
/** How long a poll may wait for something new, seconds. */
const pollSeconds = 50;
/** Follows the approvals by long poll until the session ends or the token is refused. */
async function follow(server, first, signal) {
	let { cursor } = first;
	let wait = pollSeconds;
	showApprovals(server, first.items);
	while (!signal.aborted) try {
		const page = await server.call("GET /approvals", {
			search: \`?wait=\${wait}&since=\${cursor}\`,
			signal
		});
		({cursor} = page);
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
		wait = 0;
		await pause(2e3);
	}
}
/** The contract's page at /ui goes on to the mounted one of the active workspace. */
function goToMount(status) {
	if (location.pathname !== \`\${root}ui\` || !status?.activeWorkspaceId) return;
	const icon = byId("icon", HTMLLinkElement);
	icon.setAttribute("href", icon.href);
	history.replaceState(null, "", \`\${root}w/\${encodeURIComponent(status.activeWorkspaceId)}/ui\`);
}
/** Tokens that nobody knows: a link with such must not cost those that were kept. */
function refuseTokens(signal) {
	const isFromAddress = isAny(addressTokens());
	cleanAddress();
	tokens = keptTokens();
	if (isFromAddress && isAny(tokens)) return open(signal);
	signOut("The server knows none of these tokens.");
	return Promise.resolve();
}
/** Shows what the tokens open. */
async function open(signal) {
	const server = new Server(tokens);
	const [{ approvals, status }, health] = await Promise.all([server.rights(signal), server.call("GET /health", { signal })]);
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
async function start() {
	const signal = newSession();
	if (!isAny(tokens)) {
		showSignIn();
		return;
	}
	while (!signal.aborted) try {
		await open(signal);
		return;
	} catch (error) {
		if (signal.aborted) return;
		showTrouble(error);
		await pause(3e3);
	}
}
const typed = (id) => byId(id, HTMLInputElement).value.trim();
function signIn(event) {
	event.preventDefault();
	const given = {
		client: typed("client-token"),
		host: typed("host-token")
	};
	if (!isAny(given)) {
		showSignIn("Paste at least one token.");
		return;
	}
	tokens = given;
	byId("sign-in-form", HTMLFormElement).reset();
	start();
}
byId("sign-in-form", HTMLFormElement).addEventListener("submit", signIn);
byId("sign-out", HTMLElement).addEventListener("click", () => signOut());
if (isAny(addressTokens())) tokens = addressTokens();
addEventListener("hashchange", () => {
	if (!isAny(addressTokens())) return;
	tokens = addressTokens();
	start();
});
setInterval(showTimeLeft, 1e3);
start();
`;
