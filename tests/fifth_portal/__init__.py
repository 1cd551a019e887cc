"""A portal that nobody runs: the package, the simulated server and the template recipe of docs/add-a-portal.md."""
