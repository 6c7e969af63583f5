import { memo, useId, useRef } from "react";
import type { RunSnapshot } from "../../run/run";
import { count, milliseconds } from "../words/amounts";
import { WAY_NAMES } from "../words/wayNames";
import { type Chart, chartOf, type Line } from "./scale";
import { useWidth } from "./useWidth";
import styles from "./TokensChart.module.css";

// In CSS pixels.
const USUAL_WIDTH = 640;
const HEIGHT = 200;
const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 34;

/** Tokens over time, a line a run: colours tell the paths apart, dashes what went through the queue. */
export const TokensChart = memo(function TokensChart({ snapshots }: { readonly snapshots: readonly RunSnapshot[] }) {
  const title = useId();
  const figure = useRef<HTMLElement>(null);
  const width = useWidth(figure, USUAL_WIDTH);
  const chart = chartOf(snapshots);
  const x = (seconds: number): number => LEFT + (seconds / (chart.seconds.at(-1) ?? 1)) * (width - LEFT - RIGHT);
  const y = (tokens: number): number =>
    HEIGHT - BOTTOM - (tokens / (chart.tokens.at(-1) ?? 1)) * (HEIGHT - TOP - BOTTOM);
  return (
    <figure ref={figure} className={styles.chart}>
      <svg viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-labelledby={title}>
        <title id={title}>{summary(snapshots)}</title>
        <Axes chart={chart} x={x} y={y} end={width - RIGHT} />
        {chart.lines.map((line) => (
          <polyline key={line.id} className={styles.line} data-way={line.wayId} points={coordinates(line, x, y)} />
        ))}
      </svg>
      <figcaption>
        Tokens over the seconds since the request was sent
        <ul className={styles.legend}>
          {chart.lines.map(({ id, wayId }) => (
            <li key={id} data-way={wayId}>
              <svg className={styles.sample} viewBox="0 0 28 8" aria-hidden="true">
                <line className={styles.line} x1="1" y1="4" x2="27" y2="4" />
              </svg>
              {WAY_NAMES[wayId]}
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
});

type Scale = (value: number) => number;

interface AxesProps {
  readonly chart: Chart;
  readonly x: Scale;
  readonly y: Scale;
  readonly end: number;
}

function Axes({ chart, x, y, end }: AxesProps) {
  return (
    <g className={styles.axes}>
      {chart.tokens.map((mark) => (
        <g key={mark}>
          <line x1={LEFT} x2={end} y1={y(mark)} y2={y(mark)} />
          <text x={LEFT - 6} y={y(mark)} textAnchor="end" dominantBaseline="middle">
            {label(mark)}
          </text>
        </g>
      ))}
      {chart.seconds.map((mark) => (
        <text key={mark} x={x(mark)} y={HEIGHT - BOTTOM + 16} textAnchor="middle">
          {label(mark)} s
        </text>
      ))}
    </g>
  );
}

function coordinates({ points }: Line, x: Scale, y: Scale): string {
  return points.map(({ seconds, tokens }) => `${x(seconds).toFixed(1)},${y(tokens).toFixed(1)}`).join(" ");
}

/** Marks are sums of a step: 0.1 three times over is 0.30000000000000004. */
function label(mark: number): string {
  return count(Number(mark.toPrecision(3)));
}

/** The picture in words. */
function summary(snapshots: readonly RunSnapshot[]): string {
  const parts = snapshots.map(
    ({ way, figures }) =>
      `${WAY_NAMES[way.id]}: ${count(figures.tokens)} tokens, the first after ${milliseconds(figures.timeToFirstTokenMs)}`,
  );
  return `Tokens over time. ${parts.join("; ")}.`;
}
