import { expect, test } from "vitest";
import { HealthMonitor } from "../../lib/health.ts";

test("health is told anew in every millisecond, as a value and as JSON alike", () => {
  const start = 1000.25;
  const monitor = new HealthMonitor("1.2.3", start);
  const told = (later: number): unknown => JSON.parse(monitor.jsonAt(start + later).jsonText);

  for (const [later, uptimeMs] of [
    [0, 0],
    [0.9, 0],
    [1, 1],
    [1.5, 1],
    [60_000.7, 60_000],
  ] as const) {
    const health = { ok: true, version: "1.2.3", uptimeMs };
    expect(told(later)).toEqual(health);
    expect(monitor.at(start + later)).toEqual(health);
  }
  // Of two requests the later one may be answered first.
  expect(told(1.5)).toMatchObject({ uptimeMs: 1 });
});

test("two servers in one process tell their own", () => {
  const [first, second] = [new HealthMonitor("1.0.0"), new HealthMonitor("2.0.0")];
  const now = performance.now();
  expect(JSON.parse(first.jsonAt(now).jsonText)).toMatchObject({ version: "1.0.0" });
  expect(JSON.parse(second.jsonAt(now).jsonText)).toMatchObject({ version: "2.0.0" });
});
