"""The operator's command line: the operations, with arguments and printed answers."""
