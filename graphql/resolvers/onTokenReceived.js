/**
 * Subscription.onTokenReceived: only what is published of this session, and for this user, comes to the subscriber.
 * Whether there is such a session is not looked up: it may be started after the subscription, and nobody learns
 * whether somebody else has one of this id.
 */
import { extensions, util } from '@aws-appsync/utils';

export function request() {
  return { payload: null };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  const user = /** @type {import('@aws-appsync/utils').AppSyncIdentityCognito} */ (ctx.identity);
  if (user?.claims?.token_use !== 'id') {
    util.error('A valid ID token is needed.', 'Unauthorized', null, { code: 'unauthorized', retryable: false });
  }
  const filter = { sessionId: { eq: parseSessionId(ctx.args.sessionId) }, owner: { eq: user.sub } };
  extensions.setSubscriptionFilter(util.transform.toSubscriptionFilter(filter));
  // What a subscription's resolver returns has to fit the type: an event, or none.
  return null;
}

/**
 * A session's id in its one spelling, that of Python's parse_session_id: frames are published under it.
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
