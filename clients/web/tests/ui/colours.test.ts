import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { present } from "./present";

const CSS = readFileSync("src/ui/base.css", "utf8");

/** The custom properties of the first or second `:root`: light, dark. */
function theme(index: number): ReadonlyMap<string, string> {
  const rule = present([...CSS.matchAll(/:root \{([^}]*)\}/g)][index]?.[1]);
  return new Map(
    [...rule.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, colour]) => [present(name), present(colour)]),
  );
}

/** Relative luminance, as WCAG 2 has it. */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((start) => {
    const value = parseInt(colour.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [lighter = 0, darker = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (lighter + 0.05) / (darker + 0.05);
}

describe.each([
  ["light", 0],
  ["dark", 1],
])("the %s colours", (_, index) => {
  const colours = theme(index);
  const of = (name: string): string => present(colours.get(name));

  test.each(["text", "muted", "accent", "good", "warning", "bad"])("let everybody read text in %s", (name) => {
    expect(contrast(of(name), of("surface"))).toBeGreaterThanOrEqual(4.5);
    expect(contrast(of(name), of("raised"))).toBeGreaterThanOrEqual(4.5);
  });

  test("let everybody read the button that does the main thing", () => {
    expect(contrast(of("on-accent"), of("accent"))).toBeGreaterThanOrEqual(4.5);
  });

  test.each(["way-url", "way-rest", "way-websocket", "way-appsync", "control"])(
    "let everybody see lines in %s",
    (name) => {
      expect(contrast(of(name), of("surface"))).toBeGreaterThanOrEqual(3);
    },
  );
});
