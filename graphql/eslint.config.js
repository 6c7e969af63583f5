import appsync from '@aws-appsync/eslint-plugin';
import javascript from '@eslint/js';

/** @type {import('eslint').Linter.Config[]} */
export default [
  {
    files: ['resolvers/*.js'],
    ...javascript.configs.recommended,
  },
  {
    files: ['resolvers/*.js'],
    // Some of the rules need types: whether `slice` is a text's or a list's.
    languageOptions: { parserOptions: { projectService: true } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
  },
  {
    files: ['resolvers/*.js'],
    ...appsync.configs.recommended,
  },
  {
    files: ['resolvers/*.js'],
    rules: {
      // AppSync's compiler refuses these, and its plugin doesn't say so (aws/aws-appsync-community #303, #402).
      'no-restricted-globals': ['error', 'parseInt', 'parseFloat', 'Number', 'BigInt', 'Date', 'Map', 'Set', 'RegExp'],
    },
  },
];
