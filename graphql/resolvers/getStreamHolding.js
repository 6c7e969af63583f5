/**
 * The second function of Query.getStream: the batch that holds the next frame, or else the last one before it.
 */
import { util } from '@aws-appsync/utils';

const LAST_SEQUENCE = 99999999;

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const { sessionId, attempt, seen } = ctx.stash;
  return {
    operation: 'Query',
    query: {
      expression: 'sessionId = :id AND #item BETWEEN :first AND :last',
      expressionNames: { '#item': 'item' },
      expressionValues: util.dynamodb.toMapValues({
        ':id': sessionId,
        ':first': framesKey(attempt, 1),
        ':last': framesKey(attempt, Math.min(seen + 1, LAST_SEQUENCE)),
      }),
    },
    scanIndexForward: false,
    limit: 1,
    consistentRead: true,
  };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  if (ctx.error) {
    util.error('Something went wrong on our side.', 'Internal', null, { code: 'internal', retryable: true });
  }
  const batch = ctx.result.items[0];
  // Without one nothing is stored before the next frame, so the next frame is the first. parseInt isn't there.
  ctx.stash.first = batch ? +batch.item.split('#')[2] : 1;
  ctx.stash.held = batch ? batch.frames : [];
  return {};
}

/**
 * The key of the batch that begins with this frame; zero-padded, so that the keys' order is the frames' order.
 * @param {number} attempt
 * @param {number} sequence
 */
function framesKey(attempt, sequence) {
  return `frames#${`${1000000 + attempt}`.slice(1)}#${`${100000000 + sequence}`.slice(1)}`;
}
