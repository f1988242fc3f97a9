"""Ten known mistakes in privacy claims, looked for in what a run left behind."""
