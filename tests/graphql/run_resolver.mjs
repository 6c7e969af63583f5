// node run_resolver.mjs RESOLVER HANDLER <CONTEXT: runs one handler of a resolver; prints {value, filters} or {error, filters}.

import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';

register('./stand_in_hooks.mjs', import.meta.url);
const { filters, ResolverError } = await import('@aws-appsync/utils');

const [resolver, handler] = process.argv.slice(2);
const handlers = await import(pathToFileURL(resolver));
const answer = { filters };
try {
  answer.value = handlers[handler](JSON.parse(readFileSync(0, 'utf8')));
} catch (error) {
  if (!(error instanceof ResolverError)) throw error;
  answer.error = error.description;
}
console.log(JSON.stringify(answer));
