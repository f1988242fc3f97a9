"""Studies, tables and the console entry point."""
