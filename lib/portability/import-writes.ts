import { ApiError } from "../errors.ts";
import { maxPortableFiles } from "./export.ts";
import { StorageError, storagePathParts } from "../storage.ts";

/**
 * The files that an import will write. Names that one file system tells apart and another does not, and a name
 * that is both file and directory, are refused, so that an import means the same everywhere.
 */
export class ImportWrites {
  readonly #files = new Map<string, Uint8Array>();
  /** How each path, and each directory above one, is spelled and what it is; by its folded form. */
  readonly #names = new Map<string, { spelling: string; kind: "file" | "dir" }>();

  /** Paths and contents in the order in which they came; of equal paths the last content. */
  get files(): ReadonlyMap<string, Uint8Array> {
    return this.#files;
  }

  /** Notes a file to write; `field` names the part of the request for what is wrong with it. */
  add(path: string, bytes: Uint8Array, field: string): void {
    const parts = partsOf(path, field);
    let above = "";
    for (const [index, part] of parts.entries()) {
      above = index === 0 ? part : `${above}/${part}`;
      this.#claim(above, index === parts.length - 1 ? "file" : "dir", field);
    }
    this.#files.set(path, bytes);
    if (this.#files.size > maxPortableFiles) {
      throw invalid(field, `an import writes at most ${maxPortableFiles} files`);
    }
  }

  /** Whether something will be written below a directory. */
  reaches(directory: string): boolean {
    const name = this.#names.get(folded(directory));
    return name?.kind === "dir" && name.spelling === directory;
  }

  #claim(path: string, kind: "file" | "dir", field: string): void {
    const key = folded(path);
    const known = this.#names.get(key);
    if (!known) this.#names.set(key, { spelling: path, kind });
    else if (known.spelling !== path) {
      throw invalid(field, `${quote(path)} and ${quote(known.spelling)} are one name on some file systems`);
    } else if (known.kind !== kind) {
      throw invalid(field, `${quote(path)} would be a file and a directory`);
    }
  }
}

/** The parts of a path below something; refuses what no storage takes, and control characters. */
export function partsOf(path: string, field: string): string[] {
  try {
    const parts = storagePathParts(path);
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    if (parts.length > 0 && path.isWellFormed() && !/[\u0000-\u001f\u007f]/.test(path)) return parts;
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
  throw invalid(field, `${quote(path)} is no relative path with / between its names`);
}

/** 400 `invalid_payload` that names the field. */
export function invalid(field: string, message: string): ApiError {
  return new ApiError("invalid_payload", `body.${field}: ${message}.`, { path: field });
}

function folded(path: string): string {
  return path.normalize("NFC").toLowerCase();
}

function quote(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}
