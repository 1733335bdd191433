"""The same mathematics as the reference does it: one module for each part that needs one."""
