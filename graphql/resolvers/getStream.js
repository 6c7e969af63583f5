/**
 * Query.getStream: what is stored of an answer after a position. The pipeline's functions read the session's record
 * (getStreamRecord), the batch that holds the next frame (getStreamHolding) and those that follow it
 * (getStreamFollowing), in this order: when the record has the end of the answer, all that comes before is stored.
 * Batches hold an attempt's frames in order and without a gap, each is named after its first frame's number. So counting
 * is enough; Python's counterpart is Sessions.frames_after.
 */
import { util } from '@aws-appsync/utils';

const LAST_ATTEMPT = 999999;
const LAST_SEQUENCE = 99999999;
const DEFAULT_LIMIT = 500;
const MAX_LIMIT = 1000;

/** @typedef {{ frames: string[] }} Batch */

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const user = /** @type {import('@aws-appsync/utils').AppSyncIdentityCognito} */ (ctx.identity);
  if (user?.claims?.token_use !== 'id') {
    util.error('A valid ID token is needed.', 'Unauthorized', null, { code: 'unauthorized', retryable: false });
  }
  const { sessionId, afterAttempt, afterSequence, limit } = ctx.args;
  ctx.stash.owner = user.sub;
  ctx.stash.sessionId = parseSessionId(sessionId);
  ctx.stash.after = {
    attempt: parseWhole(afterAttempt ?? 0, 'afterAttempt', 0, LAST_ATTEMPT),
    sequence: parseWhole(afterSequence ?? 0, 'afterSequence', 0, LAST_SEQUENCE),
  };
  ctx.stash.limit = parseWhole(limit ?? DEFAULT_LIMIT, 'limit', 1, MAX_LIMIT);
  return {};
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  const { sessionId, status, terminal, after, seen, limit, first, held } = ctx.stash;
  const { items, nextToken } = ctx.prev.result;
  const stored = /** @type {Batch[]} */ (items).reduce((frames, batch) => frames.concat(batch.frames), held);
  const next = seen + 1 - first;
  const frames = stored.slice(next, next + limit);
  const ending = terminal && !reached(terminal, after) ? [terminal] : [];
  const whole = stored.length <= next + limit && !nextToken && frames.length + ending.length <= limit;
  return {
    sessionId,
    status,
    // AppSync writes a value of type AWSJSON as JSON itself: a text would be written as the JSON of a text.
    frames: JSON.parse(`[${(whole ? frames.concat(ending) : frames).join(',')}]`),
    more: !whole,
  };
}

/**
 * Whether the client has the terminal frame. One that claims to have more than there is gets it all the same.
 * @param {string} terminal
 * @param {{ attempt: number, sequence: number }} after
 */
function reached(terminal, after) {
  const { attempt, sequence } = JSON.parse(terminal);
  return attempt === after.attempt && sequence === after.sequence;
}

/**
 * A session's id in its one spelling, that of Python's parse_session_id.
 * @param {string} id
 */
function parseSessionId(id) {
  const hexadecimal = '[0-9a-fA-F]';
  // The length as well: to Java's regular expressions "$" is also before a line's end.
  if (id.length !== 36 || !util.matches(`^${hexadecimal}{8}(-${hexadecimal}{4}){3}-${hexadecimal}{12}$`, id)) {
    const info = { code: 'invalid_request', retryable: false, field: 'sessionId' };
    util.error('A session id is a UUID, with its hyphens.', 'InvalidRequest', null, info);
  }
  return id.toLowerCase();
}

/**
 * @param {number} value
 * @param {string} field
 * @param {number} lowest
 * @param {number} highest
 */
function parseWhole(value, field, lowest, highest) {
  if (value < lowest || value > highest) {
    const info = { code: 'invalid_request', retryable: false, field };
    util.error(`This has to be a whole number from ${lowest} to ${highest}.`, 'InvalidRequest', null, info);
  }
  return value;
}
