import { hostname } from "node:os";
import type { Log, ServerConfig } from "../../lib/host.ts";
import { logFormatter, type LogRecord } from "../../lib/log.ts";

/** A log and the way to make sure that nothing of it is still on its way. */
export interface NodeLog {
  log: Log;
  /** Writes what has gathered, now. */
  flush(): void;
}

/**
 * The log of one run. Lines of one turn of the event loop are written together: one write per request
 * costs more than answering it.
 */
export function createNodeLog(
  settings: ServerConfig["log"],
  version: string,
  write: (text: string) => void = (text) => void process.stdout.write(text),
): NodeLog {
  const format = logFormatter(settings.format, {
    runId: settings.runId,
    version,
    hostName: hostname(),
    pid: process.pid,
  });
  let waiting = "";
  function flush(): void {
    const text = waiting;
    waiting = "";
    if (text !== "") write(text);
  }
  return {
    flush,
    log(level, body, attributes) {
      const record: LogRecord = { level, body, time: Date.now(), ...(attributes && { attributes }) };
      if (waiting === "") setImmediate(flush);
      waiting += format(record);
    },
  };
}
