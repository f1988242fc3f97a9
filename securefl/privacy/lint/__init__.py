"""Named mistakes in privacy claims, looked for in the files of a run."""
