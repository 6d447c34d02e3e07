/** What stands where a secret was (I04). */
export const mask = "***";

/** Words that make a name secret wherever they occur in it. */
const secretWords = new Set([
  "secret",
  "secrets",
  "password",
  "passwords",
  "passwd",
  "pwd",
  "passphrase",
  "token",
  "apikey",
  "apikeys",
  "authtoken",
  "accesstoken",
  "secretkey",
  "accesskey",
  "privatekey",
  "authorization",
  "credential",
  "credentials",
  "bearer",
  "cookie",
  "cookies",
  "jwt",
  "pat",
  "auth",
  "signature",
  "sig",
]);

/** How words end that are such words run together: `githubtoken`, `clientsecret`. */
const secretEnding =
  /(?:secret|password|passwd|passphrase|token|apikey|accesskey|secretkey|privatekey|credentials?)$/;

/** Words before `key` that say it is none of a lock. */
const openKeys = new Set(["public", "leader", "sort", "primary", "cache", "prompt"]);

/** Names longer than this are no names. */
const longestName = 200;

/** Whether a key, flag, variable or query parameter sounds like what it holds is secret: `apiKey`, `GITHUB_TOKEN`, `x-auth-token`. */
export function isSecretName(name: string): boolean {
  if (name.length > longestName) return false;
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    // Secrets are numbered: `token2`, `API_KEY_1`.
    .map((word) => word.replace(/\d+$/, ""))
    .filter((word) => word !== "");
  if (words.some((word) => secretWords.has(word) || secretEnding.test(word))) return true;
  const last = words.at(-1);
  // Elsewhere it means to let through.
  if (last === "pass") return true;
  return (last === "key" || last === "keys") && !openKeys.has(words.at(-2) ?? "");
}

/** Everything between `://` and `@`: user, password or a token alone. */
const urlCredentials: RegExp = /(https?)?:\/\/([^\s/?#]*)@/gi;
const queryParameter: RegExp = /([?&;#])([\w.~%[\]-]{1,64})=([^&;#\s"']*)/g;
const quotedAssignment: RegExp = /(?<![\w.-])([A-Za-z_][\w.-]{0,100})=(?:"[^"]+"|'[^']+')/g;
/** With a digit in it: prose about bearer authentication stays. */
const bearer: RegExp = /\b(bearer)\s{1,4}(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}/gi;
const secretHeader: RegExp =
  /\b((?:proxy-)?authorization|(?:x-)?api-key|x-[\w-]{0,40}(?:token|key|secret)|cookie)(\s{0,4}:\s{0,4})\S.*/gi;
/** Addresses that are secrets themselves: who knows the path may post there. */
const webhookPath: RegExp =
  /(\bhttps?:\/\/(?:hooks\.slack(?:-gov)?\.com\/(?:services|workflows|triggers)|(?:[a-z]{1,10}\.)?discord(?:app)?\.com\/api(?:\/v\d{1,2})?\/webhooks|outlook\.office(?:365)?\.com\/webhook|[\w-]{1,80}\.webhook\.office\.com\/webhookb2|hooks\.zapier\.com\/hooks\/[a-z]{1,20}|hook\.(?:[a-z]{2}\d\.)?(?:make|integromat)\.com|maker\.ifttt\.com\/(?:trigger|use)|api\.telegram\.org(?=\/bot))\/)[^\s"'<>?#]+/gi;
/** Shapes that only tokens have: those of the usual providers, of this server, and JSON web tokens. */
const tokenShape: RegExp =
  /(?<![\w-])(?:(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}|owt_[0-9a-f]{32}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)/g;

/** A text without the credentials that can be told by their place or their look. The very text when there are none. */
export function cleanText(text: string): string {
  if (text.length < 4) return text;
  const plain = text
    .replace(urlCredentials, (whole, scheme: string | undefined, user: string) =>
      user !== "" && user !== mask && (scheme !== undefined || user.includes(":"))
        ? `${scheme ?? ""}://${mask}@`
        : whole,
    )
    .replace(webhookPath, `$1${mask}`)
    .replace(queryParameter, (whole, mark: string, name: string, value: string) =>
      value !== "" && isSecretName(decodeName(name)) ? `${mark}${name}=${mask}` : whole,
    )
    .replace(quotedAssignment, (whole, name: string) => (isSecretName(name) ? `${name}=${mask}` : whole))
    .replace(secretHeader, `$1$2${mask}`)
    .replace(bearer, `$1 ${mask}`)
    .replace(tokenShape, mask);
  return /\s/.test(plain) && /[-=]/.test(plain) ? cleanWords(plain) : cleanAssignment(plain);
}

/** The path of a request as logs may keep it: what its segments say once decoded holds no credentials. */
export function cleanPath(path: string): string {
  if (!path.includes("%")) return path;
  const segments = path.split("/").map((segment) => {
    const text = decodeName(segment);
    const clean = cleanText(text);
    return clean === text ? segment : encodeURIComponent(clean);
  });
  return segments.join("/");
}

/** A command line in one text: its words are arguments. */
function cleanWords(text: string): string {
  const pieces = text.split(/(\s+)/);
  const words = pieces.filter((_, index) => index % 2 === 0);
  const clean = maskArguments(words) as readonly string[];
  return pieces
    .map((piece, index) => (index % 2 === 0 ? cleanAssignment(clean[index / 2] ?? piece) : piece))
    .join("");
}

const assignment: RegExp = /^(["']?-{0,2}([A-Za-z_][\w.-]{0,100})=)(.+)$/s;

/** `--api-key=…` and `API_KEY=…` without their values. */
function cleanAssignment(word: string): string {
  const [, start, name, value] = assignment.exec(word) ?? [];
  if (start === undefined || name === undefined || value === mask || !isSecretName(name)) return word;
  return start + mask;
}

const flag: RegExp = /^-{1,2}([A-Za-z][\w.-]{0,100})$/;
const variable: RegExp = /^([A-Za-z_]\w{0,100}=).+$/s;

/** Arguments of a command without those that follow a flag which takes a secret. The very list when there are none. */
export function maskArguments(list: readonly unknown[]): readonly unknown[] {
  let changed = false;
  const masked = list.map((argument, index) => {
    const before = list[index - 1];
    if (typeof argument !== "string" || argument === "" || typeof before !== "string") return argument;
    const clean = maskAfter(before, argument);
    changed ||= clean !== argument;
    return clean;
  });
  return changed ? masked : list;
}

function maskAfter(before: string, argument: string): string {
  const name = flag.exec(before)?.[1];
  if (name === undefined) return argument;
  if (name === "H" || /headers?$/i.test(name))
    return argument.replace(/^([\w-]{1,100}\s{0,4}[:=]\s{0,4})?.*$/s, `$1${mask}`);
  if (name === "e" || name === "env") return argument.replace(variable, `$1${mask}`);
  if ((name === "u" || name === "user") && argument.includes(":")) return mask;
  return isSecretName(name) && !/^-{1,2}[A-Za-z]/.test(argument) ? mask : argument;
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
