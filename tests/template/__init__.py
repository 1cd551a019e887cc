"""What must hold for the stack, read from its template: no network, no account."""
