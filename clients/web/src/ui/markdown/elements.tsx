/**
 * Markdown's tokens as React elements: a closed set of harmless ones.
 *
 * HTML is shown as text, nothing is loaded from anywhere, and links lead to the web or to a mailbox only. What isn't
 * known here is shown as it was written.
 */

import type { MarkedToken, Token, Tokens } from "marked";
import { createElement, Fragment, type ReactNode } from "react";
import { Scroller } from "../Scroller";
import { decodeEntities } from "./entities";
import { safeHref } from "./safeHref";
import styles from "./Markdown.module.css";

/** What is nested more deeply is shown as it was written. */
const MAX_DEPTH = 20;

/** The page's own headings are above those of an answer. */
const HEADING_SHIFT = 3;

const LINE_BREAK = /^<br\s*\/?>$/i;

export function elementsOf(tokens: readonly Token[] | undefined, depth = 0): ReactNode {
  return tokens?.map((token, index) => (
    // The order of an answer's tokens doesn't change.
    <Fragment key={index}>{depth > MAX_DEPTH ? token.raw : elementOf(token as MarkedToken, depth + 1)}</Fragment>
  ));
}

function elementOf(token: MarkedToken, depth: number): ReactNode {
  switch (token.type) {
    case "space":
      return null;
    case "paragraph":
      return <p>{elementsOf(token.tokens, depth)}</p>;
    case "heading":
      return createElement(`h${Math.min(6, token.depth + HEADING_SHIFT)}`, {}, elementsOf(token.tokens, depth));
    case "code":
      return <Code token={token} />;
    case "blockquote":
      return <blockquote>{elementsOf(token.tokens, depth)}</blockquote>;
    case "list":
      return <List token={token} depth={depth} />;
    case "table":
      return <Table token={token} depth={depth} />;
    case "hr":
      return <hr />;
    case "text":
      return token.tokens === undefined ? decodeEntities(token.text) : elementsOf(token.tokens, depth);
    case "escape":
      return token.text;
    case "strong":
      return <strong>{elementsOf(token.tokens, depth)}</strong>;
    case "em":
      return <em>{elementsOf(token.tokens, depth)}</em>;
    case "del":
      return <del>{elementsOf(token.tokens, depth)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link token={token} depth={depth} />;
    case "image":
      return <Image token={token} />;
    case "checkbox":
      return (
        <span role="img" aria-label={token.checked ? "done: " : "not done: "}>
          {token.checked ? "☑ " : "☐ "}
        </span>
      );
    case "html":
      if (LINE_BREAK.test(token.raw.trim())) {
        return <br />;
      }
      return "block" in token && token.block ? <p className={styles.raw}>{token.raw.trimEnd()}</p> : token.raw;
    case "def":
      return <p className={styles.raw}>{token.raw.trimEnd()}</p>;
    default:
      return (token as Token).raw;
  }
}

function Code({ token }: { readonly token: Tokens.Code }) {
  const language = token.lang?.split(/\s/, 1)[0];
  return (
    <Scroller className={styles.codeScroll} label={language ? `Code, ${language}` : "Code"}>
      <pre>
        <code>{token.text}</code>
      </pre>
    </Scroller>
  );
}

function List({ token, depth }: { readonly token: Tokens.List; readonly depth: number }) {
  const items = token.items.map((item, index) => <li key={index}>{elementsOf(item.tokens, depth)}</li>);
  return token.ordered ? <ol start={token.start === "" ? 1 : token.start}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ token, depth }: { readonly token: Tokens.Table; readonly depth: number }) {
  const align = (index: number) => styles[token.align[index] ?? "left"];
  return (
    <Scroller className={styles.tableScroll} label="Table">
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th key={index} scope="col" className={align(index)}>
                {elementsOf(cell.tokens, depth)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, rowIndex) => (
            <tr key={rowIndex}>
              {row.map((cell, index) => (
                <td key={index} className={align(index)}>
                  {elementsOf(cell.tokens, depth)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroller>
  );
}

function Link({ token, depth }: { readonly token: Tokens.Link; readonly depth: number }) {
  const href = safeHref(token.href);
  return href === null ? token.raw : <Anchor href={href}>{elementsOf(token.tokens, depth)}</Anchor>;
}

/** An image isn't loaded: its address may be anywhere, and asking for it tells that the answer is being read. */
function Image({ token }: { readonly token: Tokens.Image }) {
  const href = safeHref(token.href);
  return (
    <span className={styles.image}>
      Image: {decodeEntities(token.text)} ({href === null ? token.href : <Anchor href={href}>{token.href}</Anchor>})
    </span>
  );
}

function Anchor({ href, children }: { readonly href: string; readonly children: ReactNode }) {
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}
