/**
 * Milliseconds of processor that this process has used so far. What a piece of work takes of them is about the same
 * however busy the machine is, while the clock goes on when others have their turn.
 */
export function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
