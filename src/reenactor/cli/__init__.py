"""The command line: one file a verb. Verbs import what they use when they run, so that `--help` is quick."""
