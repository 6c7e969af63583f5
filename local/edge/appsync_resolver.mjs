// Runs subscription resolvers: one request a line on stdin, {"code", "context", "timeout"} with milliseconds for each
// step, one answer a line on stdout: {"value", "filter"?}, {"error": {message, type, data, info}} for what the resolver raised, {"failure": text} for what
// it is not supposed to do. Of AppSync's `util` there is what a subscription's resolver needs; the rest fails by name.
//
// Source: AppSync developer guide, "JavaScript runtime features", "Transformation helpers in util.transform".

import readline from "node:readline";
import vm from "node:vm";

class ResolverError extends Error {
  constructor(message, type, data, info) {
    super(message);
    this.type = type;
    this.data = data ?? null;
    this.info = info ?? null;
  }
}

class EarlyReturn extends Error {
  constructor(value) {
    super("early return");
    this.value = value;
  }
}

function unknownBut(name, known) {
  return new Proxy(known, {
    get(target, property) {
      if (property in target || typeof property === "symbol") return target[property];
      throw new Error(`${name}.${property} is not known to the local stack`);
    },
  });
}

/** The rules of an object without its `and` and `or`, as {fieldName, operator, value}. */
function ownRules(filter, ignored) {
  return Object.entries(filter)
    .filter(([name]) => name !== "and" && name !== "or" && !ignored.includes(name))
    .flatMap(([fieldName, operators]) =>
      Object.entries(operators).map(([operator, value]) => ({ fieldName, operator, value })),
    );
}

/** Alternatives of which one has to hold, each a list of rules that all have to. */
function alternatives(filter, ignored) {
  let groups = [ownRules(filter, ignored)];
  const both = (others) => groups.flatMap((group) => others.map((other) => [...group, ...other]));
  for (const part of filter.and ?? []) groups = both(alternatives(part, ignored));
  if (filter.or?.length) groups = both(filter.or.flatMap((part) => alternatives(part, ignored)));
  return groups;
}

function toSubscriptionFilter(filter, ignoredFields = [], rules = {}) {
  const strict = ownRules(rules ?? {}, []);
  const groups = alternatives(filter ?? {}, ignoredFields ?? []).map((group) => [...group, ...strict]);
  return { filterGroup: groups.filter((group) => group.length > 0).map((filters) => ({ filters })) };
}

function provided(state) {
  const util = unknownBut("util", {
    error(message, type, data, info) {
      throw new ResolverError(String(message), type ?? "Custom", data, info);
    },
    unauthorized() {
      throw new ResolverError("Unauthorized", "Unauthorized");
    },
    matches: (pattern, text) => new RegExp(pattern).test(text),
    transform: unknownBut("util.transform", { toSubscriptionFilter }),
  });
  const extensions = unknownBut("extensions", {
    setSubscriptionFilter(filter) {
      state.filter = filter;
    },
  });
  const runtime = unknownBut("runtime", {
    earlyReturn(value) {
      throw new EarlyReturn(value);
    },
  });
  return { util, extensions, runtime };
}

async function handlers(code, timeout, state) {
  const sandbox = vm.createContext({ console: { log() {}, error() {} } }, { codeGeneration: { strings: false, wasm: false } });
  const names = provided(state);
  const utils = new vm.SyntheticModule(
    Object.keys(names),
    function () {
      for (const [name, value] of Object.entries(names)) this.setExport(name, value);
    },
    { context: sandbox },
  );
  const module = new vm.SourceTextModule(code, { context: sandbox, identifier: "resolver.js" });
  await module.link((specifier) => {
    if (specifier === "@aws-appsync/utils") return utils;
    throw new Error(`a resolver can't import ${specifier}`);
  });
  await module.evaluate({ timeout });
  const { request, response } = module.namespace;
  if (typeof request !== "function" || typeof response !== "function") {
    throw new Error("a resolver exports request and response");
  }
  const call = new vm.Script("call()");
  return [request, response].map((handler) => (context) => {
    sandbox.call = () => handler(context);
    return call.runInContext(sandbox, { timeout });
  });
}

/** A unit resolver before a data source of type NONE, whose result is the request's payload. */
async function run({ code, context, timeout }) {
  const state = {};
  let value = null;
  try {
    const [request, response] = await handlers(code, timeout, state);
    const result = request(context)?.payload ?? null;
    value = response({ ...context, result }) ?? null;
  } catch (error) {
    if (error instanceof ResolverError) {
      const { message, type, data, info } = error;
      return { error: { message, type, data, info } };
    }
    if (!(error instanceof EarlyReturn)) return { failure: String(error?.message ?? error) };
    value = error.value ?? null;
  }
  return { value, filter: state.filter };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(JSON.parse(line)))}\n`);
}
