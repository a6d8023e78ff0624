"""The subcommands of `bioatt`, one module each: `HELP`, `add_arguments(parser)`, `run(args)`."""
