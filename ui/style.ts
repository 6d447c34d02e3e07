/** Style of the built-in page: light and dark, readable on a phone. */
export const style: string = `:root {
  color-scheme: light dark;
  --ink: #1b1f24;
  --paper: #f6f7f9;
  --card: #ffffff;
  --line: #d5dae1;
  --soft: #5c6672;
  --accent: #1f6f4a;
  --danger: #b3261e;
  --added: #e3f5ea;
  --removed: #fbe6e4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e7eaee;
    --paper: #14171b;
    --card: #1d2126;
    --line: #353c45;
    --soft: #9aa5b1;
    --accent: #58c08c;
    --danger: #ff8a80;
    --added: #16301f;
    --removed: #3a1c1a;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 0.6rem; padding: 0.8rem 1rem; border-bottom: 1px solid var(--line); background: var(--card); }
h1 { font-size: 1.1rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
#connection { margin: 0 0 0 auto; color: var(--soft); font-size: 0.9rem; }
#connection.down { color: var(--danger); }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; display: grid; gap: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; min-width: 0; }
.count { display: inline-block; min-width: 1.6em; padding: 0 0.4em; border-radius: 1em; background: var(--line); text-align: center; font-size: 0.85rem; }
.count.some { background: var(--accent); color: var(--card); }
form { display: grid; gap: 0.3rem; max-width: 30rem; }
form button { justify-self: start; margin-top: 0.5rem; }
input { padding: 0.5rem; border: 1px solid var(--line); border-radius: 6px; background: var(--paper); color: inherit; font: inherit; }
button { padding: 0.5rem 1rem; border: 1px solid var(--accent); border-radius: 6px; background: var(--accent); color: var(--card); font: inherit; cursor: pointer; }
button.deny { background: none; border-color: var(--danger); color: var(--danger); }
button.quiet { background: none; border-color: var(--line); color: var(--soft); }
button:disabled { opacity: 0.5; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
#list { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem; }
.spoken { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
#waiting:focus { outline: none; }
.approval { content-visibility: auto; contain-intrinsic-size: auto 22rem; border: 1px solid var(--line); border-radius: 8px; padding: 0.8rem; min-width: 0; }
.by, .left, #nothing { color: var(--soft); font-size: 0.9rem; margin: 0.2rem 0; }
.paths { margin: 0.3rem 0; padding-left: 1.2rem; max-height: 9rem; overflow: auto; font: 0.85rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.diff { display: grid; grid-template-columns: minmax(0, 1fr); tab-size: 4; margin: 0.5rem 0; padding: 0.5rem 0; max-height: 24rem; overflow: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--paper); font: 0.8rem/1.45 ui-monospace, monospace; }
.diff span { padding: 0 0.6rem; white-space: pre-wrap; overflow-wrap: anywhere; text-indent: 1.2rem hanging each-line; }
.diff .added { background: var(--added); }
.diff .removed { background: var(--removed); }
.answer { display: flex; flex-wrap: wrap; gap: 0.6rem; align-items: center; margin: 0; }
.error { color: var(--danger); }
.notice { border-left: 3px solid var(--accent); padding-left: 0.7rem; margin: 0.3rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0 0 1rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
`;
