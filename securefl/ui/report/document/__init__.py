"""An audit as a document for readers who are no statisticians, and its findings for programs."""
