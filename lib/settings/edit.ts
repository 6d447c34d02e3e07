import { ApiError } from "../errors.ts";
import type { Host, StoreFile } from "../host.ts";
import { isJsonObject, prettyJson, sameJson, type JsonObject } from "../json.ts";
import { editJsonc } from "../jsonc/edit.ts";
import { jsoncValue, parseJsonc } from "../jsonc/parse.ts";
import { StorageError } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/**
 * Takes a workspace out of server.json, if that file exists and names it: its entries in `workspaces` and its exact
 * path (and unusable entries) in `authorizedRoots`. All other keys stay; plain JSON is written with two spaces, a file
 * with comments keeps them and its layout. Whether anything was written. 422 `invalid_json` for a broken file, 500
 * `server_config_read_failed` for an unreadable one.
 */
export async function forgetWorkspace(host: Host, workspace: Workspace): Promise<boolean> {
  const { settings } = host;
  const file = await readSettings(settings);
  if (!file) return false;
  const parsed = parseJsonc(file.text);
  if (!parsed.root) {
    const [first] = parsed.problems;
    throw broken(settings, first ? `${first.code} at offset ${first.offset}` : "not JSON");
  }
  const value = jsoncValue(parsed.root);
  if (!isJsonObject(value)) throw broken(settings, "not an object");
  const rest = without(value, workspace, settings);
  if (sameJson(rest, value)) return false;
  const text = isPlainJson(file.text) ? prettyJson(rest) : editJsonc(file.text, parsed.root, rest);
  await settings.storage.commit([
    { op: "write", path: settings.path, body: new TextEncoder().encode(text), ifRevision: file.revision },
  ]);
  return true;
}

/** The settings without a workspace: lists lose what names it, everything else is as it was. */
function without(value: JsonObject, workspace: Workspace, settings: Host["settings"]): JsonObject {
  const { workspaces, authorizedRoots } = value;
  return {
    ...value,
    ...(Array.isArray(workspaces) && {
      workspaces: workspaces.filter((item) => pathOf(item, settings) !== workspace.path),
    }),
    ...(Array.isArray(authorizedRoots) && {
      authorizedRoots: authorizedRoots.filter(
        (item) => typeof item === "string" && item.trim() !== "" && settings.resolve(item) !== workspace.path,
      ),
    }),
  };
}

function isPlainJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function pathOf(item: unknown, settings: Host["settings"]): string | null {
  if (item === null || typeof item !== "object" || !("path" in item)) return null;
  return typeof item.path === "string" && item.path.trim() !== "" ? settings.resolve(item.path) : null;
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
