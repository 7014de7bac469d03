"""The command line. Importing it needs the standard library only: commands import the engine when they run, so that help,
version and the check of the arguments work before any environment exists."""
