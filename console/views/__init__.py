"""The pages: what each looks up, and which template shows it."""
