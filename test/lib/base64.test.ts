import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bufferCodec } from "../../adapters/local/base64.ts";
import { base64Length, fromAnyBase64, toBase64, writeBase64 } from "../../lib/base64.ts";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=";
/** Digits, what looks like them in one half of the character, and what decoders like to skip. */
const character = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...alphabet) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(" ", "\n", "\t", "\0", ".", "ÿ", "Ł", "\u4141", "\ud83d", "\uff21"),
  },
);
const text = fc.array(character, { maxLength: 24 }).map((characters) => characters.join(""));

describe("base64 of the runtime", () => {
  it("takes and refuses what the script does", () => {
    fc.assert(
      fc.property(text, (text) => {
        expect(fromAnyBase64(text, bufferCodec)).toEqual(fromAnyBase64(text));
      }),
      { numRuns: 20_000 },
    );
    for (const bad of ["A", "AAA=A", "AA=A", "A===", "====", "=", "AAAA\n", "Ł\u0141AA", "AAAAA", "AA A"])
      expect(fromAnyBase64(bad, bufferCodec)).toBeNull();
    for (const good of ["", "AA", "AA==", "AAA", "-_+/", "/x=="]) {
      expect(fromAnyBase64(good, bufferCodec)).not.toBeNull();
      expect(fromAnyBase64(good, bufferCodec)).toEqual(fromAnyBase64(good));
    }
  });

  it("refuses a large text for a single character, wherever it is", () => {
    const digits = toBase64(crypto.getRandomValues(new Uint8Array(65_536)));
    expect(fromAnyBase64(digits, bufferCodec)).toEqual(fromAnyBase64(digits));
    for (const bad of [" ", "=", "Ł", "é", "*"]) {
      for (const at of [0, 1, 30_000, 87_380, digits.length - 3])
        expect(fromAnyBase64(digits.slice(0, at) + bad + digits.slice(at + 1), bufferCodec)).toBeNull();
    }
  });

  it("writes what the script writes, and nothing beside it", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(3), (bytes, at) => {
        const [native, script] = [bufferCodec, undefined].map((codec) => {
          const target = new Uint8Array(base64Length(bytes.length) + 8).fill(1);
          writeBase64(bytes, target, at, codec);
          return target;
        });
        expect(native).toEqual(script);
      }),
    );
  });
});
