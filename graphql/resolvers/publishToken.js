/**
 * Mutation.publishToken: gives back what was published, for the subscribers. Functions alone may call it (@aws_iam).
 */
import { util } from '@aws-appsync/utils';

/** @param {import('@aws-appsync/utils').Context} ctx */
export function request(ctx) {
  const { type } = ctx.args;
  return {
    payload: {
      ...ctx.args,
      isComplete: type === 'complete' || type === 'error',
      timestamp: util.time.nowISO8601(),
    },
  };
}

/** @param {import('@aws-appsync/utils').Context} ctx */
export function response(ctx) {
  return ctx.result;
}
