/** What a credential may do, from least to most (wire contract, section 3). */
export type Scope = "viewer" | "collaborator" | "owner";

/** The scopes in the order in which the capabilities list them. */
export const scopes: readonly Scope[] = ["owner", "collaborator", "viewer"];

const rank: Record<Scope, number> = { viewer: 1, collaborator: 2, owner: 3 };

/** Whether `have` is at least `need`. */
export function scopeReaches(have: Scope, need: Scope): boolean {
  return rank[have] >= rank[need];
}

/** Whether a word is a scope. */
export function isScope(word: unknown): word is Scope {
  return typeof word === "string" && Object.hasOwn(rank, word);
}
