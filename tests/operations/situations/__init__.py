"""One module a theme; every function marked `situation` is one."""
