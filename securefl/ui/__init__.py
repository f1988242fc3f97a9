"""What people see: commands, displays, tables and the report page. Nothing below imports it."""
