/**
 * Large answers are read into blocks that are lent and given back. One for each piece, as streams have it, costs little
 * to make but much to collect.
 */
export const blockBytes: number = 256 * 1024;

/** So many are kept for the next. */
const mostKept = 16;

const free: Buffer[] = [];

/** A block that nobody else writes into until it is returned, if it ever is. */
export function lendBlock(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(blockBytes);
}

/** Gives a block back; nothing may look at it any more. */
export function returnBlock(block: Buffer): void {
  if (free.length < mostKept) free.push(block);
}
