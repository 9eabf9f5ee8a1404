"""Repairs of findings: plans, and their application."""
