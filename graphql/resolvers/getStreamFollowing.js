/**
 * The last function of Query.getStream: the batches that follow the one in hand, as many as the answer may need.
 * It begins where that one ends, so that what is stored in between leaves no gap.
 */
import { runtime, util } from '@aws-appsync/utils';

const LAST_SEQUENCE = 99999999;
// At the thousandth item AppSync ends a loop without a word.
const MAX_BATCHES = 1000;

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const { sessionId, attempt, seen, limit, first, held } = ctx.stash;
  const next = first + held.length;
  // One frame more than asked for tells that there are more; a batch has one at least.
  const wanted = seen + limit + 2 - next;
  if (wanted < 1) {
    runtime.earlyReturn({ items: [] });
  }
  return {
    operation: 'Query',
    query: {
      expression: 'sessionId = :id AND #item BETWEEN :first AND :last',
      expressionNames: { '#item': 'item' },
      expressionValues: util.dynamodb.toMapValues({
        ':id': sessionId,
        ':first': framesKey(attempt, next),
        ':last': framesKey(attempt, LAST_SEQUENCE),
      }),
    },
    limit: Math.min(wanted, MAX_BATCHES),
    consistentRead: true,
  };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  if (ctx.error) {
    util.error('Something went wrong on our side.', 'Internal', null, { code: 'internal', retryable: true });
  }
  return ctx.result;
}

/**
 * The key of the batch that begins with this frame; zero-padded, so that the keys' order is the frames' order.
 * @param {number} attempt
 * @param {number} sequence
 */
function framesKey(attempt, sequence) {
  return `frames#${`${1000000 + attempt}`.slice(1)}#${`${100000000 + sequence}`.slice(1)}`;
}
