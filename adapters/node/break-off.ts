import type { ServerResponse } from "node:http";
import { Socket } from "node:net";

/**
 * Ends an answer before its end such that it cannot pass for the whole. A caller that knows the end by that of the
 * connection alone, as in HTTP/1.0, is told by a reset; to all others the missing rest says it.
 */
export function breakOff(res: ServerResponse): void {
  const { socket } = res;
  const isFramed = res.chunkedEncoding || res.hasHeader("content-length");
  // Node's own way to tell TLS, of which no connection can be reset, without the class, which would load it.
  const isSecure = socket !== null && Reflect.get(socket, "encrypted") === true;
  if (res.headersSent && !isFramed && socket instanceof Socket && !isSecure) {
    // Which Node does after an end in good form otherwise, and that is taken for the end of the answer.
    socket.destroySoon = () => socket.destroy();
    socket.resetAndDestroy();
  }
  res.destroy();
}
