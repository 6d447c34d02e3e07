/** Turns paths as people write them into absolute ones. Lexical: no link is looked at. */
export interface Paths {
  /** `~` and `~/…` become the home directory; anything else is untouched. */
  expand(path: string): string;
  /** Absolute, without `.`, `..`, doubled or trailing separators; a relative path is taken from `base`. */
  resolve(base: string, path: string): string;
  dirname(path: string): string;
  /** The last part, or the path itself for a root. */
  basename(path: string): string;
  isRoot(path: string): boolean;
}

const drive = /^[A-Za-z]:(?=[\\/]|$)/;

function normalise(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function posixPaths(home: string): Paths {
  const expand = (path: string): string =>
    path === "~" || path.startsWith("~/") ? home + path.slice(1) : path;
  return {
    expand,
    resolve(base, path) {
      const given = expand(path);
      return normalise(given.startsWith("/") ? given : `${base}/${given}`);
    },
    dirname: (path) => normalise(`${path}/..`),
    basename: (path) => path.slice(path.lastIndexOf("/") + 1) || path,
    isRoot: (path) => path === "/",
  };
}

function windowsPath(letter: string, rest: string): string {
  return letter.toUpperCase() + rest.replaceAll("/", "\\");
}

/** On Windows one directory has one spelling: upper-case drive, backslashes. A path without a drive has the base's. */
function windowsPaths(cwd: string, home: string): Paths {
  const inner = posixPaths(home.replaceAll("\\", "/"));
  function resolve(base: string, path: string): string {
    const given = inner.expand(path.replaceAll("\\", "/"));
    const own = drive.exec(given)?.[0];
    if (own) return windowsPath(own, normalise(given.slice(2)));
    const baseDrive = drive.exec(base)?.[0] ?? cwd.slice(0, 2);
    return windowsPath(baseDrive, inner.resolve(base.replace(drive, "").replaceAll("\\", "/"), given));
  }
  return {
    expand: (path) => (/^~(?=[\\/]|$)/.test(path) ? home + path.slice(1) : path),
    resolve,
    dirname: (path) => resolve(path, ".."),
    basename: (path) => path.slice(path.lastIndexOf("\\") + 1) || path,
    isRoot: (path) => path.length <= 3,
  };
}

/** The path rules of the system that `cwd` belongs to: it is Windows when it starts with a drive. */
export function pathsFor(cwd: string, home: string): Paths {
  return drive.test(cwd) ? windowsPaths(cwd, home) : posixPaths(home);
}
