"""Enalysis: self-hosted energy management for sites of many vendors."""
