"""The subcommands of `bioatt-train`, one module each: `HELP`, `add_arguments(parser)`, `run(args)`."""
