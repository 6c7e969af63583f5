/**
 * The first function of Query.getStream: the session's record, if it is the user's.
 */
import { util } from '@aws-appsync/utils';

const LAST_SEQUENCE = 99999999;

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  return {
    operation: 'GetItem',
    key: util.dynamodb.toMapValues({ sessionId: ctx.stash.sessionId, item: 'session' }),
    consistentRead: true,
  };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  if (ctx.error) {
    util.error('Something went wrong on our side.', 'Internal', null, { code: 'internal', retryable: true });
  }
  const record = ctx.result;
  if (!record || record.owner !== ctx.stash.owner) {
    util.error('There is no such session.', 'NotFound', null, { code: 'not_found', retryable: false });
  }
  const { after } = ctx.stash;
  // A number of DynamoDB's is not one of JavaScript's here, neither to compare nor to write, before something is added.
  const attempt = record.attempt + 0;
  ctx.stash.status = record.status;
  ctx.stash.terminal = record.terminal;
  ctx.stash.attempt = attempt;
  // Of an attempt that was given up nothing is repeated: whoever has frames of an earlier one lacks all of this one's.
  ctx.stash.seen = after.attempt === attempt ? after.sequence : after.attempt < attempt ? 0 : LAST_SEQUENCE;
  return {};
}
