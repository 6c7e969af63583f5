/**
 * Mutation.cancelStream: sets the flag that the session's worker looks at (Python's counterpart:
 * Sessions.request_cancel).
 */
import { util } from '@aws-appsync/utils';

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const user = /** @type {import('@aws-appsync/utils').AppSyncIdentityCognito} */ (ctx.identity);
  if (user?.claims?.token_use !== 'id') {
    util.error('A valid ID token is needed.', 'Unauthorized', null, { code: 'unauthorized', retryable: false });
  }
  return {
    operation: 'UpdateItem',
    key: util.dynamodb.toMapValues({ sessionId: parseSessionId(ctx.args.sessionId), item: 'session' }),
    update: {
      expression: 'SET #cancelRequested = :true',
      expressionNames: { '#cancelRequested': 'cancelRequested' },
      expressionValues: util.dynamodb.toMapValues({ ':true': true }),
    },
    condition: {
      expression: '#owner = :owner',
      expressionNames: { '#owner': 'owner' },
      expressionValues: util.dynamodb.toMapValues({ ':owner': user.sub }),
    },
  };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  if (ctx.error && ctx.error.type === 'DynamoDB:ConditionalCheckFailedException') {
    // AppSync gives the item as it is beside the error: it may be somebody else's, and nothing of it goes out.
    util.error('There is no such session.', 'NotFound', null, { code: 'not_found', retryable: false });
  }
  if (ctx.error || !ctx.result) {
    util.error('Something went wrong on our side.', 'Internal', null, { code: 'internal', retryable: true });
  }
  return { sessionId: ctx.result.sessionId, status: ctx.result.status };
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
