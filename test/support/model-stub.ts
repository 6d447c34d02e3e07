import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout } from "node:timers/promises";

/** A tool call that the stub makes when it is asked for the first time in a conversation. */
export interface ScriptedCall {
  name: string;
  arguments: Readonly<Record<string, unknown>>;
}

/** An OpenAI-compatible model without any intelligence, on this machine. */
export interface ModelStub {
  url: string;
  /** How many answers were asked for. */
  requests(): number;
  stop(): Promise<void>;
}

interface ChatRequest {
  messages: { role: string }[];
  tools?: unknown[];
}

async function bodyOf(req: IncomingMessage): Promise<ChatRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString("utf8")) as ChatRequest;
}

function callDelta({ name, arguments: given }: ScriptedCall): object {
  const call = { index: 0, id: "call_1", type: "function" };
  return { tool_calls: [{ ...call, function: { name, arguments: JSON.stringify(given) } }] };
}

/** Milliseconds between two words: words that come at once may be passed on as one. */
const betweenWordsMs = 100;

/** Where tools are offered and none has answered yet it makes the call, if any; in every other case it says `text`, word by word. */
export async function startModelStub(call: ScriptedCall | null, text: string): Promise<ModelStub> {
  let requests = 0;
  const words = text.split(/(?<= )/).map((content) => ({ content }));
  const server = createServer((req, res) => {
    void bodyOf(req).then(async ({ messages, tools }) => {
      requests += 1;
      const calls = call && (tools?.length ?? 0) > 0 && !messages.some(({ role }) => role === "tool");
      res.writeHead(200, { "content-type": "text/event-stream" });
      const base = { id: "chat_1", object: "chat.completion.chunk", created: 1, model: "stub" };
      const send = (part: object): void =>
        void res.write(`data: ${JSON.stringify({ ...base, ...part })}\n\n`);
      for (const delta of calls ? [callDelta(call)] : words) {
        send({ choices: [{ index: 0, delta: { role: "assistant", ...delta }, finish_reason: null }] });
        await setTimeout(betweenWordsMs);
      }
      send({
        choices: [{ index: 0, delta: {}, finish_reason: calls ? "tool_calls" : "stop" }],
        usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      });
      res.end("data: [DONE]\n\n");
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests: () => requests,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** An engine configuration that knows no model but the stub, and asks before it edits. */
export function stubConfig(stub: ModelStub): object {
  return {
    $schema: "https://opencode.ai/config.json",
    provider: {
      stub: {
        npm: "@ai-sdk/openai-compatible",
        name: "Stub",
        options: { baseURL: stub.url, apiKey: "stub-secret-key" },
        models: { stub: { name: "Stub", tool_call: true } },
      },
    },
    model: "stub/stub",
    small_model: "stub/stub",
    enabled_providers: ["stub"],
    permission: { edit: "ask" },
    share: "disabled",
    autoupdate: false,
  };
}
