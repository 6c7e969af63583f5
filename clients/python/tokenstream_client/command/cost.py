"""`tokenstream cost`: what answers cost on each path, beside the model."""

import json

from tokenstream_client.command.arguments import CostOptions
from tokenstream_client.command.cost_document import document
from tokenstream_client.command.cost_table import table
from tokenstream_client.command.exit_codes import COMPLETE


def cost(options: CostOptions) -> int:
    """Run the command; return its exit code."""
    if options.json:
        print(json.dumps(document(options.answer, options.streams), ensure_ascii=False, indent=2), flush=True)
    else:
        print(*table(options.answer, options.streams), sep="\n", flush=True)
    return COMPLETE
