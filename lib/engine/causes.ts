/** What keeps an engine from being reached, as far as the cause of a failed request tells. */
export type UnreachableCode = "refused" | "unknown_host" | "tls" | "unreachable";

/** What a cause comes to, and what to do about it. */
export interface Explanation {
  code: UnreachableCode;
  /** A sentence. */
  advice: string;
}

const question = "Is it running?";
const speaksTls =
  "It closed the connection without an answer: if it speaks TLS, its URL should begin with https://.";

/** What causes look like, codes in Node and Bun, sentences in Deno; and what else may be said of them. */
const causes: readonly (readonly [pattern: RegExp, code: UnreachableCode, advice: string])[] = [
  [/ECONNREFUSED|connection refused/i, "refused", question],
  [/ENOTFOUND|EAI_AGAIN|dns error/i, "unknown_host", question],
  [
    /ALTNAME|NotValidForName/i,
    "tls",
    "Its certificate is not for this name: its URL should have one that is in it.",
  ],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_/i,
    "tls",
    "Its certificate is not trusted: let NODE_EXTRA_CA_CERTS name the file of whoever signed it.",
  ],
  [/ERR_SSL_|EPROTO|corrupt message/i, "tls", "It does not speak TLS: its URL should begin with http://."],
  [/UND_ERR_SOCKET|ECONNRESET|SendRequest/, "unreachable", speaksTls],
];

/** Explains the cause of a failed request to an engine at an address of this protocol, as a URL has it. */
export function explain(cause: string, protocol: string): Explanation {
  const [, code, advice] = causes.find(([pattern]) => pattern.test(cause)) ?? [];
  if (advice === speaksTls && protocol === "https:") return { code: "unreachable", advice: question };
  return { code: code ?? "unreachable", advice: advice ?? question };
}
