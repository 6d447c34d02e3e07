/** The tokens of a person: either may be missing. */
export interface Tokens {
  client: string | null;
  host: string | null;
}

const storedAs = { client: "openwork.token", host: "openwork.hostToken" } as const;
const names = ["client", "host"] as const;

/** The tokens kept from before. */
export function keptTokens(): Tokens {
  return { client: localStorage.getItem(storedAs.client), host: localStorage.getItem(storedAs.host) };
}

/** Tokens in the address: #token=…&hostToken=… */
export function addressTokens(): Tokens {
  const given = new URLSearchParams(location.hash.slice(1));
  return { client: given.get("token"), host: given.get("hostToken") };
}

/** Whether there is at least one. */
export function isAny({ client, host }: Tokens): boolean {
  return Boolean(client || host);
}

/** Keeps the tokens, and them alone, and takes them out of the address. */
export function keepTokens(tokens: Tokens): void {
  for (const name of names) {
    const token = tokens[name];
    if (token) localStorage.setItem(storedAs[name], token);
    else localStorage.removeItem(storedAs[name]);
  }
  cleanAddress();
}

/** Takes tokens out of the address. */
export function cleanAddress(): void {
  if (isAny(addressTokens())) history.replaceState(null, "", location.pathname + location.search);
}

/** One token alone is tried as both: an owner token is a client's and a host's. */
export function tokenHeaders({ client, host }: Tokens): Record<string, string> {
  return {
    authorization: `Bearer ${client || host || ""}`,
    "x-openwork-host-token": host || client || "",
  };
}
