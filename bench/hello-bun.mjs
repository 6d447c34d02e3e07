/** The yardstick on Bun: the least that `Bun.serve` can do. Prints its port. */
const body = '{"ok":true}';
const headers = { "content-type": "application/json" };
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(body, { headers }) });
process.stdout.write(`${server.port}\n`);
