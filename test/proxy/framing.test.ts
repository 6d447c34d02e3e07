import { connect } from "node:net";
import { beforeEach, describe, expect, test } from "vitest";
import { clientToken } from "../support/memory-host.ts";
import { begin, call, outcomeOf, proxyTo } from "../support/proxy-server.ts";
import { answerOf, chunk, chunkedHead, RawTarget } from "../support/raw-target.ts";

const target = new RawTarget();
const server = proxyTo(target);

/** What each request is answered with, in turn. */
function answerWith(...answers: string[]): void {
  let next = 0;
  target.answer = ({ socket }) => {
    socket.write(answers[next] ?? answerOf("no more answers"), "latin1");
    next += 1;
  };
}

/** Whether the connection of the last answer carries the next request. */
async function isKept(): Promise<boolean> {
  const before = target.connections.length;
  const last = target.newest;
  if ((await call(server, "/next")).body !== "next") throw new Error("the next answer is another's");
  if (target.connections.length === before) return true;
  await expect.poll(() => last.destroyed).toBe(true);
  return false;
}

// No test begins with a connection of the one before it.
beforeEach(() => target.hangUp());

/** Bytes that come back over a connection of its own until the server ends it. */
function raw(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, "127.0.0.1", () => socket.write(request));
    let text = "";
    socket.on("data", (bytes) => (text += bytes.toString("latin1")));
    socket.on("error", reject).on("close", () => resolve(text));
  });
}

const authorization = `Authorization: Bearer ${clientToken}`;

describe("answers that have no body, whatever their headers say (RFC 9112, 6.3)", () => {
  test.each([
    ["a length", "Content-Length: 5\r\n"],
    ["chunks", "Transfer-Encoding: chunked\r\n"],
    ["neither", ""],
  ])("to HEAD, with %s", async (_name, headers) => {
    answerWith(`HTTP/1.1 200 OK\r\nX-A: 1\r\n${headers}\r\n`, answerOf("next"));
    const { status, headers: got, body, isWhole } = await call(server, "/x", { method: "HEAD" });
    expect([status, got["x-a"], body, isWhole]).toEqual([200, "1", "", true]);
    expect(got["content-length"]).toBe(headers.startsWith("Content-Length") ? "5" : undefined);
    expect(await isKept()).toBe(true);
  });

  test.each([
    [204, "a length", "Content-Length: 5\r\n"],
    [204, "chunks", "Transfer-Encoding: chunked\r\n"],
    [204, "neither", ""],
    [304, "a length", 'Content-Length: 5\r\nETag: "a"\r\n'],
    [304, "chunks", "Transfer-Encoding: chunked\r\n"],
  ])("%i with %s", async (status, _name, headers) => {
    answerWith(`HTTP/1.1 ${status} X\r\nX-A: 1\r\n${headers}\r\n`, answerOf("next"));
    const text = await raw(
      `GET /opencode/x HTTP/1.1\r\nHost: a\r\n${authorization}\r\nConnection: close\r\n\r\n`,
    );
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [^]*\\r\\n\\r\\n$`));
    expect(text).toMatch(/^x-a: 1\r$/im);
    expect(text).not.toMatch(/^transfer-encoding:/im);
    // A length is said of what would have come (304), and never of nothing (204; RFC 9110, 8.6).
    expect(/^content-length: 5\r$/im.test(text)).toBe(status === 304 && headers.includes("Length"));
    expect(await isKept()).toBe(true);
  });

  test.each(["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])(
    "205, of which what it should not have is not awaited (%j)",
    async (rest) => {
      answerWith(`HTTP/1.1 205 Reset Content\r\n${rest}`, answerOf("next"));
      const { status, body, isWhole } = await call(server, "/x");
      expect([status, body, isWhole]).toEqual([205, "", true]);
      await isKept();
    },
  );

  test("what such an answer carries all the same is not taken for the next one", async () => {
    answerWith(
      `HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n${answerOf("poison")}`,
      answerOf("next"),
    );
    expect(await call(server, "/x")).toMatchObject({ status: 204, body: "", isWhole: true });
    expect(await isKept()).toBe(false);
  });
});

describe("answers before the last one", () => {
  test.each([
    ["100", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["103 with headers", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n"],
    ["several", "HTTP/1.1 102 Processing\r\n\r\n".repeat(500)],
  ])("%s: they are passed over", async (_name, interim) => {
    answerWith(interim + answerOf("hello"), answerOf("next"));
    const { status, headers, body } = await call(server, "/x");
    expect([status, headers["link"], body]).toEqual([200, undefined, "hello"]);
    expect(await isKept()).toBe(true);
  });

  test("one that comes alone, and the last one long after it", async () => {
    target.answer = async ({ socket }) => {
      for (const text of [
        "HTTP/1.1 100 Continue\r\n",
        "\r\nHTTP/1.1 2",
        "00 OK\r\nContent-Length: 2\r\n\r\nok",
      ]) {
        socket.write(text);
        await new Promise((resolve) => {
          setTimeout(resolve, 20);
        });
      }
    };
    expect((await call(server, "/x")).body).toBe("ok");
  });
});

describe("answers in HTTP/1.0", () => {
  test("a body that the end of the connection ends comes whole", async () => {
    target.answer = ({ socket }) => socket.end(`HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\n${"a".repeat(300_000)}`);
    const { headers, body, isWhole } = await call(server, "/x");
    expect([headers["x-a"], body.length, isWhole]).toEqual(["1", 300_000, true]);
  });

  test("an empty one too", async () => {
    target.answer = ({ socket }) => socket.end("HTTP/1.0 200 OK\r\n\r\n");
    expect(await call(server, "/x")).toMatchObject({ status: 200, body: "", isWhole: true });
  });

  test("one with a length ends there, and so does the connection", async () => {
    answerWith("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", answerOf("next"));
    expect(await call(server, "/x")).toMatchObject({ body: "hello", isWhole: true });
    expect(await isKept()).toBe(false);
  });

  test("unless it is said to be kept", async () => {
    const head = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n";
    answerWith(`${head}hello`, answerOf("next"));
    expect(await call(server, "/x")).toMatchObject({ body: "hello", isWhole: true });
    expect(await isKept()).toBe(true);
  });
});

describe("what ends with an answer", () => {
  test.each(["close", "Close", "x-a, close"])("the connection, by `Connection: %s`", async (connection) => {
    answerWith(answerOf("hello", `Connection: ${connection}\r\nX-A: 1\r\n`), answerOf("next"));
    const { headers, body } = await call(server, "/x");
    expect(body).toBe("hello");
    expect(headers["x-a"]).toBe(connection.startsWith("x-a") ? undefined : "1");
    expect(await isKept()).toBe(false);
  });

  test("a body without a framing, with the connection", async () => {
    target.answer = ({ socket }) => socket.end("HTTP/1.1 200 OK\r\n\r\nhello");
    expect(await call(server, "/x")).toMatchObject({ body: "hello", isWhole: true });
  });

  test("trailers, which are for the next hop", async () => {
    answerWith(`${chunkedHead}${chunk("hello")}0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n`, answerOf("next"));
    const answer = await begin(server, "/x");
    expect(await outcomeOf(answer)).toMatchObject({ body: "hello", isWhole: true });
    expect([answer.trailers, answer.headers["trailer"]]).toEqual([{}, undefined]);
    expect(await isKept()).toBe(true);
  });
});

describe("several headers of one name", () => {
  test("cookies stay apart, lists are joined, of the rest the first counts", async () => {
    const given =
      "Set-Cookie: a=1\r\nX-L: 1\r\nset-cookie: b=2\r\nX-L: 2\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n";
    answerWith(answerOf("", given));
    const { headers } = await call(server, "/x");
    expect(headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "x-l": "1, 2", "content-type": "a/b" });
  });

  test("values in UTF-8 come as they are, blanks around them do not count", async () => {
    const value = Buffer.from("voilà").toString("latin1");
    answerWith(answerOf("", `X-A: \t ${value} \t\r\nX-B:\r\nX-C:  \r\n`));
    // The last byte of that letter is a blank of its own in other encodings.
    expect((await call(server, "/x")).headers).toMatchObject({ "x-a": value, "x-b": "", "x-c": "" });
  });
});
