// Node's module hooks: a resolver's import of AppSync's utilities leads to their stand-in.

const STAND_IN = new URL('./appsync_utils.mjs', import.meta.url).href;

export function resolve(specifier, context, next) {
  return specifier === '@aws-appsync/utils' ? { url: STAND_IN, shortCircuit: true } : next(specifier, context);
}
