// Stands in for @aws-appsync/utils, whose npm package holds types alone: the functions that the resolvers call in Node.

export const filters = [];

export class ResolverError extends Error {
  constructor(message, errorType, data, errorInfo) {
    super(message);
    this.description = { message, errorType, data, errorInfo };
  }
}

export class EarlyReturn extends Error {}

export const runtime = {
  earlyReturn() {
    throw new EarlyReturn();
  },
};

export const util = {
  error(message, errorType, data, errorInfo) {
    throw new ResolverError(message, errorType, data, errorInfo);
  },
  // As Java's: the whole text has to match.
  matches: (pattern, text) => new RegExp(`^(?:${pattern})$`).test(text),
  dynamodb: {
    toMapValues: (values) =>
      Object.fromEntries(Object.entries(values).map(([name, text]) => [name, { S: text }])),
  },
  transform: {
    // The fields of an object all have to fit: one group of filters.
    toSubscriptionFilter: (fields) => ({
      filterGroup: [
        {
          filters: Object.entries(fields).flatMap(([fieldName, condition]) =>
            Object.entries(condition).map(([operator, value]) => ({ fieldName, operator, value })),
          ),
        },
      ],
    }),
  },
};

export const extensions = {
  setSubscriptionFilter(filter) {
    filters.push(filter);
  },
};
