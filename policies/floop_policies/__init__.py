"""Shipped baseline policies and the recipes that made them."""
