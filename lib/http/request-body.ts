import type { ApiError } from "../errors.ts";

/**
 * The body of a request as a stream that can be given up without ending the connection: cancelling it leaves
 * the rest unread, so that the client still gets the answer that says why. An absent body is an empty one.
 * It fails with what `tooLarge` makes of the bytes seen, as soon as they are more than `maxBytes`.
 */
export function requestBody(
  request: Request,
  maxBytes: number,
  tooLarge: (size: number) => ApiError,
): ReadableStream<Uint8Array> {
  const declared = Number(request.headers.get("content-length"));
  if (declared > maxBytes) throw tooLarge(declared);
  const { body } = request;
  if (!body) return new ReadableStream({ start: (controller) => controller.close() });
  const reader = body.getReader();
  let given = false;
  let size = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (given) return;
          if (done) return controller.close();
          size += value.length;
          if (size > maxBytes) throw tooLarge(size);
          controller.enqueue(value);
        } catch (error) {
          if (!given) controller.error(error);
        }
      },
      cancel() {
        // The reader keeps its lock: letting go of it makes some runtimes end the connection.
        given = true;
      },
    },
    { highWaterMark: 0 },
  );
}
