import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { absolutePath, decodeSegment, isInside, normalizeRelativePath, targetOf } from "../../lib/paths.ts";
import { compareCodePoints, storagePathParts } from "../../lib/storage.ts";

const piece = fc.oneof(
  fc.constantFrom(
    "..",
    ".",
    "",
    "a",
    "b.md",
    "workspace",
    " ",
    "\\",
    "\0",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "C:",
    "CON",
    "é",
    "😀",
  ),
  fc.string({ maxLength: 5 }),
);

describe("paths", () => {
  it("whatever a client sends is refused, or is a path that stays below its root", () => {
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 6 }),
        fc.constantFrom("/", "\\", "//"),
        (pieces, separator) => {
          let path: string;
          try {
            path = normalizeRelativePath(pieces.join(separator));
          } catch (error) {
            expect(error).toMatchObject({ code: "invalid_path", status: 400 });
            return;
          }
          expect(path.startsWith("/")).toBe(false);
          const parts = path.split("/");
          expect(
            parts.some((part) => part === "" || part === "." || part === ".." || part.includes("\0")),
          ).toBe(false);
          // The path of a URL written from it is still inside once resolved.
          const resolved = new URL(`file:///root/${parts.map(encodeURIComponent).join("/")}`).pathname;
          expect(isInside("/root", resolved)).toBe(true);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("follows the contract's examples", () => {
    expect(normalizeRelativePath("/a//b.md/")).toBe("a/b.md");
    expect(normalizeRelativePath(" ./a\\b ")).toBe("a/b");
    for (const bad of ["", "  ", "/", "a/../b", "..", "a/./b", "a\0b", "\\..\\x"]) {
      expect(() => normalizeRelativePath(bad)).toThrow(expect.objectContaining({ code: "invalid_path" }));
    }
  });

  it("takes a request's path as the URL standard would, without parsing what is plain", () => {
    const segment = fc
      .stringMatching(/^[a-zA-Z0-9_.~%-]{0,8}$/)
      .filter((text) => !/%(?![0-9a-f]{2})/i.test(text));
    fc.assert(
      fc.property(
        fc.array(segment, { maxLength: 5 }),
        fc.constantFrom("", "?a=/../b", "?", "#x", "?q#h"),
        (parts, tail) => {
          const url = `http://host:1/${parts.join("/")}${tail}`;
          expect(targetOf(url).path).toBe(new URL(url).pathname);
          expect(new URLSearchParams(targetOf(url).search).get("a")).toBe(new URL(url).searchParams.get("a"));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("a sibling with the same beginning is outside", () => {
    expect(isInside("/root", "/root")).toBe(true);
    expect(isInside("/root", "/root/x")).toBe(true);
    expect(isInside("/root", "/root-evil")).toBe(false);
    expect(isInside("/", "/anything")).toBe(true);
  });

  it("Windows separates with both slashes and tells no case apart; elsewhere a backslash is part of a name", () => {
    for (const [root, path, inside] of [
      ["C:\\work", "C:\\work", true],
      ["C:\\work", "C:\\work\\app", true],
      ["C:\\work", "C:/work/app", true],
      ["C:\\work", "c:\\Work\\App", true],
      ["C:/work/", "C:\\work\\app", true],
      ["C:\\", "C:\\work", true],
      ["\\\\server\\share", "\\\\server\\share\\app", true],
      ["C:\\work", "C:\\work-evil", false],
      ["C:\\work", "D:\\work\\app", false],
      ["C:\\work\\app", "C:\\work", false],
      ["\\\\server\\share", "\\\\server\\shares", false],
      ["/work", "/work\\app", false],
      ["/work", "/Work/app", false],
      ["/work\\app", "/work\\app/x", true],
    ] as const) {
      expect([root, path, isInside(root, path)]).toEqual([root, path, inside]);
    }
  });

  it("an absolute path has the separators of its root", () => {
    for (const [root, path, absolute] of [
      ["/work", "a/b.md", "/work/a/b.md"],
      ["/", "a", "/a"],
      ["/work", "", "/work"],
      ["/wo\\rk", "a\\b/c", "/wo\\rk/a\\b/c"],
      ["C:\\work", "app/b.md", "C:\\work\\app\\b.md"],
      ["C:\\", "app/b.md", "C:\\app\\b.md"],
      ["C:/work", "app/b.md", "C:/work/app/b.md"],
      ["\\\\server\\share", "a/b", "\\\\server\\share\\a\\b"],
    ] as const) {
      expect(absolutePath(root, path)).toBe(absolute);
    }
  });

  it("I15: escapes are decoded, malformed ones refused", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const wellFormed = text.toWellFormed();
        expect(decodeSegment(encodeURIComponent(wellFormed))).toBe(wellFormed);
      }),
    );
    for (const bad of ["%", "%a", "%E0%A4%A", "%c0%ae"]) {
      expect(() => decodeSegment(bad)).toThrow(expect.objectContaining({ code: "invalid_path" }));
    }
  });

  it("storage paths are checked once more by every storage", () => {
    for (const bad of [
      "/a",
      "a/",
      "a//b",
      "..",
      "a/..",
      ".",
      "a\0",
      ".owtmp-0123456789abcdef0123",
      "x".repeat(256),
      "é".repeat(128),
    ]) {
      expect(() => storagePathParts(bad)).toThrow(expect.objectContaining({ code: "invalid_path" }));
    }
    expect(storagePathParts("a/ b\\c/é")).toEqual(["a", " b\\c", "é"]);
  });

  it("I40: one order for names, that of their UTF-8 bytes", () => {
    const encoder = new TextEncoder();
    const name = fc.string({
      unit: fc.constantFrom("a", "B", "é", "\uffee", "\ue000", "😀", "\u{10ffff}", "/", "-"),
      maxLength: 6,
    });
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(Math.sign(compareCodePoints(a, b))).toBe(
          Math.sign(Buffer.compare(encoder.encode(a), encoder.encode(b))),
        );
      }),
      { numRuns: 3000 },
    );
  });
});
