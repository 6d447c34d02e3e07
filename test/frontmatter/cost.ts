/** Milliseconds of processor time that a function takes; other processes on the machine do not count. */
export function costOf(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
