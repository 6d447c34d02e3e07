/**
 * The body of a request as a stream that can be given up without ending the connection: cancelling it leaves
 * the rest unread, so that the client still gets the answer that says why. An absent body is an empty one.
 */
export function requestBody(request: Request): ReadableStream<Uint8Array> {
  const { body } = request;
  if (!body) return new ReadableStream({ start: (controller) => controller.close() });
  const reader = body.getReader();
  let given = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (given) return;
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          // Letting go of the reader fails the read that was under way.
          if (!given) controller.error(error);
        }
      },
      cancel() {
        given = true;
        reader.releaseLock();
      },
    },
    { highWaterMark: 0 },
  );
}
