"""Models a federation can train; all of them pass Opacus' validator."""
