"""Stream the tokens of a language model from Python Lambda functions to any client, while they are generated."""
