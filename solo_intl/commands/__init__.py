"""One module a command: takes the composed configuration, prints what happened, returns the final figures."""
