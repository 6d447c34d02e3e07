/** A form as a browser sends it, and the header that goes with it. */
export function formOf(
  parts: readonly { name: string; filename?: string; body: string | Uint8Array }[],
  boundary = "----boundary7MA4YWxk",
): { body: Uint8Array<ArrayBuffer>; headers: Record<string, string> } {
  const encoder = new TextEncoder();
  const pieces: Uint8Array[] = [];
  for (const { name, filename, body } of parts) {
    const file = filename === undefined ? "" : `; filename="${escaped(filename)}"`;
    pieces.push(
      encoder.encode(
        `--${boundary}\r\nContent-Disposition: form-data; name="${escaped(name)}"${file}\r\n\r\n`,
      ),
    );
    pieces.push(typeof body === "string" ? encoder.encode(body) : body, encoder.encode("\r\n"));
  }
  pieces.push(encoder.encode(`--${boundary}--\r\n`));
  return { body: joined(pieces), headers: { "content-type": `multipart/form-data; boundary=${boundary}` } };
}

/** What the HTML standard makes of a name in a form. */
function escaped(name: string): string {
  return name.replaceAll("\n", "%0A").replaceAll("\r", "%0D").replaceAll('"', "%22");
}

/** Several pieces as one. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** The id of a path in inbox and outbox. */
export function idOf(path: string): string {
  return Buffer.from(path).toString("base64url");
}
