/** The element of the page with this id, which is of this kind; the page and this script come from one server. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  return insistOn(document.getElementById(id), kind, `#${id}`);
}

/** The first element below `parent` that fits, which is of this kind. */
export function within<T extends HTMLElement>(parent: ParentNode, selector: string, kind: new () => T): T {
  return insistOn(parent.querySelector(selector), kind, selector);
}

function insistOn<T extends HTMLElement>(found: Element | null, kind: new () => T, name: string): T {
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} ${name}`);
}

/** Shows the elements with these ids, or hides them. */
export function show(isShown: boolean, ...ids: string[]): void {
  for (const id of ids) byId(id, HTMLElement).hidden = !isShown;
}
