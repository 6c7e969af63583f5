"""What stands in for Amazon Bedrock: its wire format, and the models behind it."""
