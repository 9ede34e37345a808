"""Spillway's client: SDK and CLI. Talks HTTP only."""
