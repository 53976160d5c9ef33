"""Folders of SKILL.md become skills and versions."""
