"""The commands of `securefl`, in groups; each function is a command, its docstring the help.

Imports that load torch or pydantic are inside the functions: `securefl --help` needs none of them.
"""
