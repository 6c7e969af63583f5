import type { Cost } from "../../cost";
import type { Figures } from "../../figures";
import { bytes, count, dollars, fineMilliseconds, milliseconds, rate } from "../words/amounts";

/** What there is to know of a run, live or of long ago. */
export interface Measured {
  readonly figures: Figures;
  readonly cost: Cost;
}

export interface Column {
  readonly id: string;
  readonly label: string;
  /** What exactly is measured. */
  readonly meaning: string;
  readonly value: (run: Measured) => number | null;
  readonly text: (value: number | null) => string;
}

/** The figures of a run, in the order in which they are shown. */
export const COLUMNS: readonly Column[] = [
  {
    id: "connection",
    label: "Connection",
    meaning: "until there was a token and a connection to send the request on",
    value: ({ figures }) => figures.connectionMs,
    text: milliseconds,
  },
  {
    id: "first",
    label: "First token",
    meaning: "from sending the request to the first text",
    value: ({ figures }) => figures.timeToFirstTokenMs,
    text: milliseconds,
  },
  {
    id: "median",
    label: "Median gap",
    meaning: "between one piece of text and the next",
    value: ({ figures }) => figures.medianGapMs,
    text: fineMilliseconds,
  },
  {
    id: "p95",
    label: "p95 gap",
    meaning: "95 of 100 gaps are no longer than this",
    value: ({ figures }) => figures.p95GapMs,
    text: fineMilliseconds,
  },
  {
    id: "rate",
    label: "Speed",
    meaning: "tokens per second from the first text to the last; estimated until the model has told its count",
    value: ({ figures }) => figures.tokensPerSecond,
    text: rate,
  },
  {
    id: "total",
    label: "Total",
    meaning: "from sending the request to the end",
    value: ({ figures }) => figures.totalMs,
    text: milliseconds,
  },
  {
    id: "messages",
    label: "Messages",
    meaning: "frames that arrived, duplicates among them",
    value: ({ figures }) => figures.messages,
    text: count,
  },
  {
    id: "bytes",
    label: "Bytes",
    meaning: "everything that arrived, without the headers of the protocols",
    value: ({ figures }) => figures.bytes,
    text: (value) => bytes(value ?? 0),
  },
  {
    id: "gaps",
    label: "Gaps repaired",
    meaning: "times that frames were missing and came",
    value: ({ figures }) => figures.gapsRepaired,
    text: count,
  },
  {
    id: "duplicates",
    label: "Duplicates",
    meaning: "frames that had come before",
    value: ({ figures }) => figures.duplicates,
    text: count,
  },
  {
    id: "resumes",
    label: "Resumes",
    meaning: "times that the connection was lost and made again",
    value: ({ figures }) => figures.resumes,
    text: count,
  },
  {
    id: "cost",
    label: "Cost",
    meaning: "of the way alone, estimated from AWS's list prices, without the model's own",
    value: ({ cost }) => cost.usd,
    text: (value) => dollars(value ?? 0),
  },
];
