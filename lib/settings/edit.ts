import { applyEdits, modify, parse, printParseErrorCode, type ParseError } from "jsonc-parser";
import { ApiError } from "../errors.ts";
import type { Host, StoreFile } from "../host.ts";
import { StorageError } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

const formattingOptions = { insertSpaces: true, tabSize: 2, eol: "\n" };

/**
 * Takes a workspace out of server.json, if that file exists and names it: its entries in `workspaces` and its exact
 * path (and unusable entries) in `authorizedRoots`. All other keys and comments stay. Whether anything was
 * written. 422 `invalid_json` for a broken file, 500 `server_config_read_failed` for an unreadable one.
 */
export async function forgetWorkspace(host: Host, workspace: Workspace): Promise<boolean> {
  const { settings } = host;
  const file = await readSettings(settings);
  if (!file) return false;
  const body = file.text.startsWith("\uFEFF") ? file.text.slice(1) : file.text;
  const errors: ParseError[] = [];
  const value: unknown = parse(body, errors, { allowTrailingComma: true });
  const first = errors[0];
  if (first) throw broken(settings, `${printParseErrorCode(first.error)} at offset ${first.offset}`);
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw broken(settings, "not an object");
  const { workspaces, authorizedRoots } = value as Record<string, unknown>;
  let text = body;
  if (Array.isArray(workspaces)) {
    text = dropItems(text, "workspaces", workspaces, (item) => pathOf(item, settings) === workspace.path);
  }
  if (Array.isArray(authorizedRoots)) {
    const gone = (item: unknown): boolean =>
      typeof item !== "string" || item.trim() === "" || settings.resolve(item) === workspace.path;
    text = dropItems(text, "authorizedRoots", authorizedRoots, gone);
  }
  if (text === body) return false;
  const ended = text.endsWith("\n") ? text : `${text}\n`;
  await settings.storage.commit([
    { op: "write", path: settings.path, body: new TextEncoder().encode(ended), ifRevision: file.revision },
  ]);
  return true;
}

function pathOf(item: unknown, settings: Host["settings"]): string | null {
  if (item === null || typeof item !== "object" || !("path" in item)) return null;
  return typeof item.path === "string" && item.path.trim() !== "" ? settings.resolve(item.path) : null;
}

/** Removes items of a list from the last to the first, so that the positions before stay right. */
function dropItems(
  text: string,
  key: string,
  items: readonly unknown[],
  gone: (item: unknown) => boolean,
): string {
  return items.reduceRight<string>((left, item, position) => {
    if (!gone(item)) return left;
    return applyEdits(left, modify(left, [key, position], undefined, { formattingOptions }));
  }, text);
}

async function readSettings(settings: StoreFile): Promise<{ text: string; revision: string } | null> {
  try {
    const file = await settings.storage.readFile(settings.path, { maxBytes: 4 * 1024 * 1024 });
    return file && { text: new TextDecoder().decode(file.bytes), revision: file.entry.revision };
  } catch (cause) {
    if (!(cause instanceof StorageError)) throw cause;
    const path = `${settings.storage.location}/${settings.path}`;
    throw new ApiError(
      "server_config_read_failed",
      `The settings file ${path} could not be read: ${cause.message} Nothing was changed.`,
      { path, error: cause.message },
      { cause },
    );
  }
}

function broken(settings: StoreFile, error: string): ApiError {
  const path = `${settings.storage.location}/${settings.path}`;
  const message = `The settings file ${path} is broken (${error}); repair it first. Nothing was changed.`;
  return new ApiError("invalid_json", message, { path, error }, { status: 422 });
}
