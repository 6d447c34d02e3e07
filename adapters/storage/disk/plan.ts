import type { Change } from "../../../lib/storage.ts";
import { refuseOverlaps } from "../change-paths.ts";
import { existsOtherwise, notAFile, notEmpty, notFound } from "../refusals.ts";
import { printOf } from "./revision.ts";
import type { Body, DiskContext } from "./stage.ts";
import { writeTarget } from "./stage.ts";
import { checkMoveOnto, checkRevision, isEmpty } from "./steps.ts";
import type { Condition, Step } from "./steps.ts";
import { joinPath, splitPath } from "./tree.ts";
import type { Target } from "./tree.ts";

/** A step with what the caller asked of it; steps that only make parents have the path they are for. */
export interface Planned {
  step: Step;
  condition: Condition;
}

/** The steps of a commit, and for every change the real place of what it leaves behind (null: nothing). */
export interface Plan {
  planned: Planned[];
  results: ({ dir: string; name: string } | null)[];
  /** Where each write lands. */
  targets: ReadonlyMap<Change, Target>;
}

/** Works out the steps of a commit and checks every condition as things stand now. */
export class Planner {
  readonly #context: DiskContext;
  readonly #planned: Planned[] = [];
  readonly #results: Plan["results"] = [];
  readonly #targets = new Map<Change, Target>();
  readonly #made = new Set<string>();
  readonly #real: string[] = [];
  readonly #closed = new Set<string>();

  constructor(context: DiskContext) {
    this.#context = context;
  }

  /** Adds one change; `body` is where its bytes wait (absent in a dry run before they are staged). */
  add(change: Change, body: Body | undefined): void {
    if (change.op === "write") this.#write(change, body);
    else if (change.op === "remove") this.#remove(change);
    else if (change.op === "mkdir") this.#mkdir(change.path);
    else this.#move(change);
  }

  /** The finished plan; refuses paths that links make overlap. */
  finish(): Plan {
    refuseOverlaps(this.#real, this.#closed);
    return { planned: this.#planned, results: this.#results, targets: this.#targets };
  }

  #push(step: Step, condition: Condition): void {
    this.#planned.push({ step, condition });
  }

  /** Plans the missing parents of a target and returns its real directory. */
  #parents(path: string, target: Target): string {
    let { dir } = target;
    for (const name of target.missing) {
      const made = joinPath(dir, name);
      if (!this.#made.has(made)) this.#push({ do: "mkdir", dir, name }, { path });
      this.#made.add(made);
      dir = made;
    }
    return dir;
  }

  #claim(real: string, closes: boolean): void {
    this.#real.push(real);
    if (closes) this.#closed.add(real);
  }

  #write(change: Extract<Change, { op: "write" }>, body: Body | undefined): void {
    const { path, ifRevision } = change;
    const target = writeTarget(this.#context, path);
    this.#targets.set(change, target);
    const condition: Condition = { path, revision: ifRevision };
    checkRevision(condition, target.stats);
    const dir = this.#parents(path, target);
    this.#claim(joinPath(dir, target.name), true);
    this.#results.push({ dir, name: target.name });
    if (body === undefined) return;
    const old = target.stats && printOf(target.stats);
    const backup = this.#context.names.next("backup");
    const put = {
      do: "put",
      dir,
      name: target.name,
      from: body.dir,
      temp: body.id,
      print: body.print,
      old,
      backup,
    } as const;
    const { owner, size } = body;
    this.#push(owner === undefined ? put : { ...put, held: { ...owner, size } }, condition);
  }

  #remove(change: Extract<Change, { op: "remove" }>): void {
    const { path, ifRevision, recursive = false } = change;
    const { dir, name, stats } = this.#context.tree.target(path, false);
    const condition: Condition = { path, revision: ifRevision, recursive };
    checkRevision(condition, stats);
    this.#results.push(null);
    if (stats === null) {
      // "Remove unless it exists" asks for nothing, and nothing is done.
      if (ifRevision === null) return;
      throw notFound(path);
    }
    if (!stats.isFile() && !stats.isDirectory() && !stats.isSymbolicLink()) throw notAFile(path);
    if (stats.isDirectory() && !recursive) this.#checkEmpty(path, dir, name);
    this.#claim(joinPath(dir, name), true);
    this.#push(
      { do: "remove", dir, name, trash: this.#context.names.next("trash"), print: printOf(stats) },
      condition,
    );
  }

  #checkEmpty(path: string, dir: string, name: string): void {
    const open = this.#context.tree.openDir(dir);
    try {
      if (!isEmpty(this.#context, open, name)) throw notEmpty(path);
    } finally {
      open.close();
    }
  }

  #mkdir(path: string): void {
    const found = this.#context.tree.look(path);
    if (found !== null || path === "") {
      if (found !== null && !found.stats.isDirectory()) {
        throw existsOtherwise(path);
      }
      this.#results.push(found === null || found.rel === "" ? { dir: "", name: "" } : splitPath(found.rel));
      return;
    }
    const target = this.#context.tree.target(path, true);
    const dir = this.#parents(path, { ...target, missing: [...target.missing, target.name] });
    this.#claim(dir, false);
    this.#results.push(splitPath(dir));
  }

  #move(change: Extract<Change, { op: "move" }>): void {
    const { from, to, replace = false } = change;
    const { tree, names } = this.#context;
    const source = tree.target(from, false);
    if (source.stats === null) throw notFound(from);
    if (!source.stats.isFile() && !source.stats.isDirectory() && !source.stats.isSymbolicLink())
      throw notAFile(from);
    const target = tree.target(to, false);
    if (target.stats !== null) checkMoveOnto(to, source.stats, target.stats, replace);
    const real = joinPath(source.dir, source.name);
    const toDir = this.#parents(to, target);
    this.#claim(real, true);
    this.#claim(joinPath(toDir, target.name), true);
    this.#results.push({ dir: toDir, name: target.name });
    const old = target.stats && printOf(target.stats);
    const place = { dir: source.dir, name: source.name, toDir, toName: target.name };
    const step: Step = {
      do: "move",
      ...place,
      print: printOf(source.stats),
      old,
      backup: names.next("backup"),
    };
    this.#push(step, { path: from, replace });
  }
}
