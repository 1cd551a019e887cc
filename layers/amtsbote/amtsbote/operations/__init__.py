"""What an operator asks and decides, as functions over an `Office`: typed results, nothing printed."""
