/**
 * Mutation.startStream: hands the request to the function appsync_start, which gives {sessionId, status} or {error}.
 */
import { util } from '@aws-appsync/utils';

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const user = /** @type {import('@aws-appsync/utils').AppSyncIdentityCognito} */ (ctx.identity);
  if (user?.claims?.token_use !== 'id') {
    util.error('A valid ID token is needed.', 'Unauthorized', null, { code: 'unauthorized', retryable: false });
  }
  return { operation: 'Invoke', payload: { arguments: ctx.args, sub: user.sub } };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  if (ctx.error || !ctx.result) {
    // What went wrong is in the function's log, and none of the client's business.
    util.error('Something went wrong on our side.', 'Internal', null, { code: 'internal', retryable: true });
  }
  const { error } = ctx.result;
  if (error) {
    const { code, message, retryable, field } = error;
    util.error(message, errorType(code), null, { code, retryable, field });
  }
  return ctx.result;
}

/**
 * The code in GraphQL's spelling: not_found is NotFound.
 * @param {string} code
 */
function errorType(code) {
  return code
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
}
