import type { LogLevel, ServerConfig } from "./host.ts";

/** What every record of one run says about where it comes from. */
export interface LogIdentity {
  /** One for start-up and request lines (I97). */
  runId: string;
  version: string;
  hostName: string;
  /** Absent where there are no processes. */
  pid?: number;
}

/** One thing to log. */
export interface LogRecord {
  level: LogLevel;
  /** The line for people, without its newline. */
  body: string;
  /** `exception.stacktrace`, when there, is printed below the line in the pretty format. */
  attributes?: Readonly<Record<string, unknown>>;
  /** Milliseconds since the epoch. */
  time: number;
}

/** Turns a record into its line, newline included. */
export type LogFormatter = (record: LogRecord) => string;

const severityNumber: Readonly<Record<LogLevel, number>> = { INFO: 9, WARN: 13, ERROR: 17 };

/** Control characters, which in a name or path could forge lines or drive a terminal. */
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f]/g;
// oxlint-disable-next-line no-control-regex
const controlButLayout = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function prettyLine({ body, attributes }: LogRecord): string {
  const line = body.replace(control, escaped);
  const stack = attributes?.["exception.stacktrace"];
  return typeof stack === "string" ? `${line}\n${stack.replace(controlButLayout, escaped)}\n` : `${line}\n`;
}

/** JSON of anything; what JSON cannot hold is written as text, because a log call must not throw. */
function toJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return JSON.stringify(String(value));
  }
}

function jsonFormatter(identity: LogIdentity): LogFormatter {
  const own = {
    "run.id": identity.runId,
    ...(identity.pid === undefined ? {} : { "process.pid": identity.pid }),
  };
  const ownJson = JSON.stringify(own).slice(0, -1);
  const resource = JSON.stringify({
    "service.name": "openwork-server",
    "service.version": identity.version,
    "service.instance.id": identity.runId,
    "host.name": identity.hostName,
  });
  return ({ level, body, attributes, time }) => {
    let more = "";
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (value === undefined || key in own) continue;
      more += `,${JSON.stringify(key)}:${toJson(value) ?? "null"}`;
    }
    return (
      `{"timeUnixNano":"${Math.floor(time)}000000","severityText":"${level}","severityNumber":${severityNumber[level]},` +
      `"body":${JSON.stringify(body)},"attributes":${ownJson}${more}},"resource":${resource}}\n`
    );
  };
}

/** The formatter for the configured format (wire contract, section 12). */
export function logFormatter(format: ServerConfig["log"]["format"], identity: LogIdentity): LogFormatter {
  return format === "json" ? jsonFormatter(identity) : prettyLine;
}
